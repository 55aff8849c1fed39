/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platter.c - what survives of a simulated disk: files, their safe and their unsafe bytes.
 *
 * A sync, or too many unsafe bytes (a drive's cache is finite), moves unsafe writes into the safe
 * image; a power cut throws dice for each of them, and for each file made or removed whose name no
 * sync has covered. Growing files is durable at once. Single thread.
 */
#include "store/spill/platter.h"

#define SECTOR	   512u
#define UNSAFE_MAX MIB(64)
#define REMOVED_MAX 8u /* names that may come back */

/* ---- page maps ---- */
static int map_resize(struct page_map *m, uint64_t bytes)
{
	const uint64_t count = swi_align_up(bytes, SWI_DISK_ALIGN) / SWI_DISK_ALIGN;
	uint8_t **page;

	for (uint64_t i = count; i < m->count; i++)
		free(m->page[i]);
	page = realloc(m->page, swi_max_u64(count, 1) * sizeof(*page));
	if (!page)
		return -ENOMEM;
	for (uint64_t i = m->count; i < count; i++)
		page[i] = NULL;
	m->page = page;
	m->count = count;
	return 0;
}

static void map_fini(struct page_map *m)
{
	for (uint64_t i = 0; i < m->count; i++)
		free(m->page[i]);
	free(m->page);
	*m = (struct page_map){0};
}

void swi_map_read(const struct page_map *m, uint64_t off, uint8_t *buf, uint64_t len)
{
	while (len) {
		const uint64_t in = off % SWI_DISK_ALIGN;
		const uint64_t n = swi_min_u64(len, SWI_DISK_ALIGN - in);
		const uint8_t *page = m->page[off / SWI_DISK_ALIGN];

		if (page)
			memcpy(buf, page + in, n);
		else
			memset(buf, 0, n);
		off += n;
		buf += n;
		len -= n;
	}
}

void swi_map_write(struct page_map *m, uint64_t off, const uint8_t *buf, uint64_t len)
{
	while (len) {
		const uint64_t in = off % SWI_DISK_ALIGN;
		const uint64_t n = swi_min_u64(len, SWI_DISK_ALIGN - in);
		uint8_t **page = &m->page[off / SWI_DISK_ALIGN];

		if (!*page)
			*page = calloc(1, SWI_DISK_ALIGN);
		SWI_BUG_ON(!*page); /* the simulator needs its memory */
		memcpy(*page + in, buf, n);
		off += n;
		buf += n;
		len -= n;
	}
}

static void map_punch(struct page_map *m, uint64_t off, uint64_t len)
{
	for (uint64_t i = off / SWI_DISK_ALIGN; i < (off + len) / SWI_DISK_ALIGN; i++) {
		free(m->page[i]);
		m->page[i] = NULL;
	}
}

/* ---- files of a platter ---- */
struct platter_file *swi_platter_find(struct swi_platter *p, const char *name)
{
	swi_list_for_each(it, &p->files) {
		struct platter_file *pf = swi_list_entry(it, struct platter_file, link);

		if (!strcmp(pf->name, name))
			return pf;
	}
	return NULL;
}

uint64_t swi_platter_used(const struct swi_platter *p)
{
	uint64_t sum = 0;

	swi_list_for_each(it, &p->files) {
		const struct platter_file *pf = swi_list_entry(it, struct platter_file, link);

		sum += pf->bytes - pf->punched;
	}
	return sum;
}

int swi_platter_resize(struct platter_file *pf, uint64_t bytes)
{
	int rc = map_resize(&pf->now, bytes);

	if (!rc)
		rc = map_resize(&pf->safe, bytes);
	if (!rc)
		pf->bytes = bytes;
	return rc;
}

static void file_insert(struct swi_platter *p, struct platter_file *pf)
{
	struct swi_list *at = &p->files;

	swi_list_for_each(it, &p->files) {
		if (strcmp(swi_list_entry(it, struct platter_file, link)->name, pf->name) > 0) {
			at = it;
			break;
		}
	}
	swi_list_insert(at, &pf->link);
}

struct platter_file *swi_platter_new(struct swi_platter *p, const char *name)
{
	struct platter_file *pf = calloc(1, sizeof(*pf));

	if (!pf)
		return NULL;
	snprintf(pf->name, sizeof(pf->name), "%s", name);
	swi_list_init(&pf->unsafe);
	file_insert(p, pf);
	return pf;
}

static void unsafe_land(struct platter_file *pf, struct unsafe_write *w)
{
	swi_map_write(&pf->safe, w->off, w->bytes, w->len);
	pf->unsafe_bytes -= w->len;
	swi_list_del(&w->link);
	free(w);
}

void swi_platter_sync(struct platter_file *pf, uint64_t upto)
{
	swi_list_for_each_safe(it, &pf->unsafe) {
		struct unsafe_write *w = swi_list_entry(it, struct unsafe_write, link);

		if (w->number <= upto)
			unsafe_land(pf, w);
	}
}

static uint64_t holes(const struct platter_file *pf, uint64_t off, uint64_t len)
{
	uint64_t n = 0;

	for (uint64_t i = off / SWI_DISK_ALIGN; i < (off + len) / SWI_DISK_ALIGN; i++)
		n += pf->now.page[i] == NULL;
	return n * SWI_DISK_ALIGN;
}

void swi_platter_punch(struct platter_file *pf, uint64_t off, uint64_t len)
{
	/* What lies in it unsafe would fill it again. */
	swi_list_for_each_safe(it, &pf->unsafe) {
		struct unsafe_write *w = swi_list_entry(it, struct unsafe_write, link);

		if (w->off < off + len && off < w->off + w->len)
			unsafe_land(pf, w);
	}
	pf->punched += len - swi_min_u64(holes(pf, off, len), pf->punched);
	map_punch(&pf->now, off, len);
	map_punch(&pf->safe, off, len);
	pf->punched = swi_min_u64(pf->punched, pf->bytes);
}

static void file_free(struct platter_file *pf)
{
	swi_platter_sync(pf, UINT64_MAX);
	map_fini(&pf->now);
	map_fini(&pf->safe);
	swi_list_del(&pf->link);
	free(pf);
}

static void files_free(struct swi_list *files)
{
	while (!swi_list_empty(files))
		file_free(swi_list_first(files, struct platter_file, link));
}

static uint64_t files_count(const struct swi_list *files)
{
	uint64_t n = 0;

	swi_list_for_each(it, files)
		n++;
	return n;
}

void swi_platter_remove(struct swi_platter *p, struct platter_file *pf)
{
	if (!pf->named) { /* nobody will ever know */
		file_free(pf);
		return;
	}
	swi_list_del(&pf->link);
	swi_list_push_back(&p->removed, &pf->link);
	if (files_count(&p->removed) > REMOVED_MAX)
		file_free(swi_list_first(&p->removed, struct platter_file, link));
}

void swi_platter_name(struct swi_platter *p, struct platter_file *pf)
{
	if (pf->named)
		return;
	pf->named = true;
	files_free(&p->removed);
}

void swi_platter_forget_gone(struct swi_platter *p)
{
	files_free(&p->gone);
}

void swi_platter_put(struct platter_file *pf, uint64_t off, const uint8_t *buf, uint64_t len)
{
	struct unsafe_write *w = malloc(sizeof(*w) + len);

	SWI_BUG_ON(!w);
	w->off = off;
	w->len = len;
	w->number = ++pf->writes;
	memcpy(w->bytes, buf, len);
	swi_map_write(&pf->now, off, buf, len);
	swi_list_push_back(&pf->unsafe, &w->link);
	pf->unsafe_bytes += len;
	while (pf->unsafe_bytes > UNSAFE_MAX)
		swi_platter_sync(pf, swi_list_first(&pf->unsafe, struct unsafe_write, link)->number);
}

/* Some sectors of it, in no order. */
static void keep_some(struct platter_file *pf, const struct unsafe_write *w, uint64_t *rng)
{
	for (uint64_t at = 0; at < w->len; at += SECTOR)
		if (swi_splitmix64(rng) % 2)
			swi_map_write(&pf->safe, w->off + at, w->bytes + at,
				      swi_min_u64(SECTOR, w->len - at));
}

static void file_crash(struct platter_file *pf, uint64_t *rng)
{
	swi_list_for_each_safe(it, &pf->unsafe) {
		struct unsafe_write *w = swi_list_entry(it, struct unsafe_write, link);
		const uint64_t dice = swi_splitmix64(rng);
		uint64_t keep = 0; /* two of five are lost */

		if (dice % 5 == 0)
			keep = w->len;
		else if (dice % 5 == 1)
			keep = (dice >> 8) % (w->len / SECTOR + 1) * SECTOR;
		else if (dice % 5 == 2)
			keep_some(pf, w, rng);
		swi_map_write(&pf->safe, w->off, w->bytes, keep);
		swi_list_del(&w->link);
		free(w);
	}
	pf->unsafe_bytes = 0;
	for (uint64_t i = 0; i < pf->now.count; i++) {
		free(pf->now.page[i]);
		pf->now.page[i] = NULL;
		if (pf->safe.page[i])
			swi_map_write(&pf->now, i * SWI_DISK_ALIGN, pf->safe.page[i], SWI_DISK_ALIGN);
	}
}

/* A file that was removed may be back, and one that was made be gone. */
static void names_crash(struct swi_platter *p, uint64_t *rng)
{
	swi_list_for_each_safe(it, &p->removed) {
		struct platter_file *pf = swi_list_entry(it, struct platter_file, link);
		const bool back = swi_splitmix64(rng) % 2 && !swi_platter_find(p, pf->name);

		swi_list_del(&pf->link);
		if (back)
			file_insert(p, pf);
		else
			swi_list_push_back(&p->gone, &pf->link);
	}
	swi_list_for_each_safe(it, &p->files) {
		struct platter_file *pf = swi_list_entry(it, struct platter_file, link);

		if (pf->named)
			continue;
		pf->named = true;
		if (swi_splitmix64(rng) % 2)
			continue;
		swi_list_del(&pf->link);
		swi_list_push_back(&p->gone, &pf->link);
	}
}

void swi_platter_power_cut(struct swi_platter *p, uint64_t *rng)
{
	names_crash(p, rng);
	swi_list_for_each(it, &p->files)
		file_crash(swi_list_entry(it, struct platter_file, link), rng);
}

/* ---- for the tests ---- */
struct swi_platter *swi_platter_create(uint64_t capacity, const char *name)
{
	struct swi_platter *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	swi_list_init(&p->files);
	swi_list_init(&p->removed);
	swi_list_init(&p->gone);
	p->capacity = capacity;
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

void swi_platter_destroy(struct swi_platter *p)
{
	if (!p)
		return;
	SWI_BUG_ON(p->in_use);
	files_free(&p->files);
	files_free(&p->removed);
	files_free(&p->gone);
	free(p);
}

int swi_platter_read(struct swi_platter *p, const char *name, uint64_t off, void *buf, uint64_t len)
{
	const struct platter_file *pf = swi_platter_find(p, name);

	if (!pf)
		return -ENOENT;
	if (off > pf->bytes || len > pf->bytes - off)
		return -EINVAL;
	swi_map_read(&pf->now, off, buf, len);
	return 0;
}

int swi_platter_write(struct swi_platter *p, const char *name, uint64_t off, const void *buf,
		      uint64_t len)
{
	struct platter_file *pf = swi_platter_find(p, name);
	int rc = 0;

	if (!pf)
		pf = swi_platter_new(p, name);
	if (!pf)
		return -ENOMEM;
	if (off + len > pf->bytes)
		rc = swi_platter_resize(pf, off + len);
	if (rc)
		return rc;
	pf->named = true;
	swi_map_write(&pf->now, off, buf, len);
	swi_map_write(&pf->safe, off, buf, len);
	return 0;
}

int swi_platter_each(struct swi_platter *p, void (*each)(void *ctx, const char *name), void *ctx)
{
	swi_list_for_each_safe(it, &p->files)
		each(ctx, swi_list_entry(it, struct platter_file, link)->name);
	return 0;
}

void swi_platter_set_capacity(struct swi_platter *p, uint64_t capacity)
{
	p->capacity = capacity;
}
