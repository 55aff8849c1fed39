/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - questions to the node daemon, over an ordinary attachment. Every error is one line that names the
 * directory and the remedy.
 */
#include "sched/proto.h"
#include "store/host.h"
#include "store/object.h"
#include "tools/cli.h"

#define ASK_NS	 (10 * NS_PER_S)
#define PIECE_MAX (64u << 20)

int swt_attach(const struct swt_command *cmd, const char *dir, struct swarm_store **out)
{
	char why[512] = "";
	const int rc = swi_store_attach(dir, SWI_ROLE_TOOL, NULL, NULL, out, why, sizeof(why));

	if (!rc)
		return 0;
	return swt_error(cmd, SWT_FAILED, "%s", why[0] ? why : swarm_strerror(rc));
}

struct answer {
	char *text;
	uint64_t total;
	uint32_t len;
	char error[512];
};

static void keep(struct answer *a, const void *p, uint32_t len)
{
	char *bigger = p ? realloc(a->text, (size_t)a->len + len + 1) : NULL;

	if (!bigger)
		return;
	memcpy(bigger + a->len, p, len);
	a->text = bigger;
	a->len += len;
	a->text[a->len] = 0;
}

static void on_status(struct swi_call *call, int status, struct swi_rd *body)
{
	struct answer *a = call->owner;
	const void *p;
	uint32_t len;

	if (status < 0) {
		swi_rd_str(body, a->error, sizeof(a->error));
		return;
	}
	a->total = swi_rd_u64(body);
	p = swi_rd_bytes(body, &len);
	keep(a, p, len);
}

static void on_admin(struct swi_call *call, int status, struct swi_rd *body)
{
	struct answer *a = call->owner;
	const void *p;
	uint32_t len;

	if (status < 0) {
		swi_rd_str(body, a->error, sizeof(a->error));
		return;
	}
	p = swi_rd_bytes(body, &len);
	keep(a, p ? p : "", len);
}

static int round_trip(struct swarm_store *s, uint16_t type, const struct swi_wr *w,
		      struct swi_call *call)
{
	struct swi_lc *lc = swi_store_lc(s);
	int rc = swi_lc_post(lc, type, w->buf, w->len, call);

	if (!rc)
		rc = swi_lc_wait(lc, call, ASK_NS);
	return rc ? rc : call->status;
}

static int failed(const struct swt_command *cmd, const struct answer *a, int rc, const char *what)
{
	if (rc == -ETIMEDOUT)
		return swt_error(cmd, SWT_FAILED, "the daemon does not answer (%s) within %llu s",
				 what, (unsigned long long)(ASK_NS / NS_PER_S));
	return swt_error(cmd, SWT_FAILED, "%s: %s", what,
			 a->error[0] ? a->error : swarm_strerror(rc));
}

int swt_ask(const struct swt_command *cmd, struct swarm_store *s, const char *what, json_t **out_doc)
{
	struct answer a = {.text = NULL};
	uint8_t buf[256];
	uint32_t before;
	json_error_t je;
	int rc = 0;

	do {
		struct swi_call call = {.on_reply = on_status, .owner = &a};
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));

		before = a.len;
		swi_wr_str(&w, what);
		swi_wr_u64(&w, a.len);
		rc = swi_wr_ok(&w) ? round_trip(s, SWI_L_STATUS, &w, &call) : -E2BIG;
	} while (!rc && a.len < a.total && a.len > before && a.len < PIECE_MAX);
	if (rc)
		rc = failed(cmd, &a, rc, what);
	else if (!(*out_doc = json_loadb(a.text ? a.text : "", a.len, 0, &je)))
		rc = swt_error(cmd, SWT_FAILED, "%s: the daemon's answer is no JSON: %s", what, je.text);
	free(a.text);
	return rc;
}

static int admin_on(const struct swt_command *cmd, struct swarm_store *s, const char *command,
		    const char *argument, char **out_text)
{
	struct answer a = {.text = NULL};
	struct swi_call call = {.on_reply = on_admin, .owner = &a};
	uint8_t buf[512];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	char what[128];
	int rc;

	swi_wr_str(&w, command);
	swi_wr_str(&w, argument);
	rc = swi_wr_ok(&w) ? round_trip(s, SWI_L_ADMIN, &w, &call) : -E2BIG;
	if (!rc) {
		*out_text = a.text;
		return 0;
	}
	snprintf(what, sizeof(what), "%s%s%s", command, *argument ? " " : "", argument);
	rc = failed(cmd, &a, rc, what);
	free(a.text);
	return rc;
}

int swt_ask_once(const struct swt_command *cmd, const char *dir, const char *what, json_t **out_doc)
{
	struct swarm_store *s;
	char *text = NULL;
	int rc = swt_attach(cmd, dir, &s);

	if (rc)
		return rc;
	rc = admin_on(cmd, s, "gather", what, &text);
	if (!rc && text && *text)
		fprintf(stderr, "%s: %s\n", cmd->name, text);
	free(text);
	if (!rc)
		rc = swt_ask(cmd, s, what, out_doc);
	swarm_store_close(s);
	return rc;
}

int swt_admin(const struct swt_command *cmd, const char *dir, const char *command,
	      const char *argument, char **out_text)
{
	struct swarm_store *s;
	int rc = swt_attach(cmd, dir, &s);

	if (rc)
		return rc;
	rc = admin_on(cmd, s, command, argument, out_text);
	swarm_store_close(s);
	return rc;
}
