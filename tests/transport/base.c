/* SPDX-License-Identifier: Apache-2.0 */
/* base.c - the table of errors, the log, lists and the environment. */
#include "check.h"

#include "transport/base/env.h"
#include "transport/base/list.h"
#include "transport/base/log.h"

#define CODES(X)                                                                                   \
	X(SWARM_EFULL, -4100)                                                                      \
	X(SWARM_EMEMLOCK, -4101)                                                                   \
	X(SWARM_ENODAEMON, -4102)                                                                  \
	X(SWARM_EVERSION, -4103)                                                                   \
	X(SWARM_ENOTRANSPORT, -4104)                                                               \
	X(SWARM_EINDEXFULL, -4105)                                                                 \
	X(SWARM_ENOROOM, -4106)                                                                    \
	X(SWARM_EPORTUSED, -4107)                                                                  \
	X(SWARM_EDISKFULL, -4108)                                                                  \
	X(SWARM_EQUOTA, -4109)                                                                     \
	X(SWARM_EPINLIMIT, -4110)                                                                  \
	X(SWARM_EFEWNODES, -4111)                                                                  \
	X(SWARM_ELOST, -4200)                                                                      \
	X(SWARM_ECORRUPT, -4201)                                                                   \
	X(SWARM_ESTALE, -4202)                                                                     \
	X(SWARM_EHOMELOST, -4203)                                                                  \
	X(SWARM_EDELETED, -4204)                                                                   \
	X(SWARM_ESEALED, -4205)                                                                    \
	X(SWARM_ETASK, -4300)                                                                      \
	X(SWARM_ECRASH, -4301)                                                                     \
	X(SWARM_ECANCELED, -4302)                                                                  \
	X(SWARM_ENOFUNC, -4303)                                                                    \
	X(SWARM_EMODULE, -4304)                                                                    \
	X(SWARM_ETASKTIME, -4305)                                                                  \
	X(SWARM_EDEPENDENCY, -4306)                                                                \
	X(SWARM_EAUTH, -4400)                                                                      \
	X(SWARM_EPEERLOST, -4401)                                                                  \
	X(SWARM_EPROTO, -4402)                                                                     \
	X(SWARM_EREMOTEACCESS, -4403)                                                              \
	X(SWARM_ESILENT, -4404)                                                                    \
	X(SWARM_ENODELOST, -4500)                                                                  \
	X(SWARM_EDRAINING, -4501)

static const struct {
	int code, pinned;
	const char *name;
} codes[] = {
#define X(c, v) {c, v, #c},
    CODES(X)
#undef X
};

/* Values are pinned for ever; every code has a name and a sentence of its own. */
static void errors__table(void **state)
{
	(void)state;
	for (size_t i = 0; i < SWI_ARRAY_LEN(codes); i++) {
		assert_int_equal(codes[i].code, codes[i].pinned);
		assert_string_equal(swarm_errname(codes[i].code), codes[i].name);
		assert_string_not_equal(swarm_strerror(codes[i].code), "unknown error");
		assert_non_null(swarm_strremedy(codes[i].code));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(swarm_strerror(codes[i].code),
						swarm_strerror(codes[k].code));
	}
	assert_string_equal(swarm_errname(-ENOMEM), "ENOMEM");
	assert_string_equal(swarm_errname(0), "SWARM_OK");
	assert_string_equal(swarm_errname(-99999), "UNKNOWN");
	assert_string_equal(swarm_strerror(12345), "unknown error");
	assert_string_equal(swarm_strremedy(12345), "");
	assert_true(strlen(swarm_strremedy(SWARM_EAUTH)) > 10);
}

struct capture {
	int lines;
	enum swi_log_level level;
	char name[32], line[2048];
};

static void capture(void *ctx, enum swi_log_level level, const char *name, const char *line)
{
	struct capture *c = ctx;

	c->lines++;
	c->level = level;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->line, sizeof(c->line), "%s", line);
}

static void log__levels_and_sink(void **state)
{
	struct capture c = {0};
	struct swi_log log;
	char longer[3000];

	(void)state;
	setenv("SWARM_LOG", "INFO", 1);
	swi_log_init(&log, "a name that is much longer than there is room");
	assert_int_equal(log.level, SWI_LOG_INFO);
	unsetenv("SWARM_LOG");
	swi_log_init(&log, "node 3");
	assert_int_equal(log.level, SWI_LOG_WARN);
	log.sink = capture;
	log.sink_ctx = &c;
	swi_info(&log, "not %s", "this");
	assert_int_equal(c.lines, 0);
	swi_warn(&log, "lost %d of %s", 3, "9");
	assert_int_equal(c.lines, 1);
	assert_int_equal(c.level, SWI_LOG_WARN);
	assert_string_equal(c.name, "node 3");
	assert_string_equal(c.line, "lost 3 of 9");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	swi_error(&log, "%s", longer); /* cut, not overrun */
	assert_int_equal(c.lines, 2);
	assert_int_equal(strlen(c.line), 1023);
	log.level = SWI_LOG_NONE;
	swi_error(&log, "silence");
	assert_int_equal(c.lines, 2);
}

struct item {
	int n;
	struct swi_list link;
};

static void list__operations(void **state)
{
	struct swi_list a, b;
	struct item it[6];
	int sum = 0;

	(void)state;
	swi_list_init(&a);
	swi_list_init(&b);
	for (int i = 0; i < 6; i++) {
		it[i].n = i;
		swi_list_push_back(i < 3 ? &a : &b, &it[i].link);
	}
	swi_list_splice(&a, &b);
	assert_true(swi_list_empty(&b));
	swi_list_splice(&a, &b);
	swi_list_for_each (l, &a)
		sum = 10 * sum + swi_list_entry(l, struct item, link)->n;
	assert_int_equal(sum, 12345);
	swi_list_for_each_safe (l, &a)
		if (swi_list_entry(l, struct item, link)->n % 2)
			swi_list_del(l);
	swi_list_del(&it[1].link); /* twice is harmless */
	swi_list_push_front(&a, &it[5].link);
	sum = 0;
	swi_list_for_each (l, &a)
		sum = 10 * sum + swi_list_entry(l, struct item, link)->n;
	assert_int_equal(sum, 5024);
	assert_ptr_equal(swi_list_first(&a, struct item, link), &it[5]);
	assert_null(swi_list_first(&b, struct item, link));
}

static void env__time_moves_and_numbers_differ(void **state)
{
	struct swi_env *e = swi_env_real();
	const uint64_t t = swi_now(e);
	uint64_t seed = 0;

	(void)state;
	assert_true(t > 0);
	assert_true(swi_now(e) >= t);
	assert_true(swi_rand(e) != swi_rand(e));
	assert_true(swi_splitmix64(&seed) ==
		    0xe220a8397b1dcdafull); /* the published first output */
	assert_true(swi_sat_add(UINT64_MAX, 1) == UINT64_MAX);
	assert_true(swi_align_up(4097, 4096) == 8192 && swi_align_down(4097, 4096) == 4096);
	assert_true(swi_next_pow2(1000) == 1024 && swi_is_pow2(64) && !swi_is_pow2(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(errors__table),
	    cmocka_unit_test(log__levels_and_sink),
	    cmocka_unit_test(list__operations),
	    cmocka_unit_test(env__time_moves_and_numbers_differ),
	};

	return RUN(tests);
}
