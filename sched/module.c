/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.c - see module.h. A module's bytes are copied into a memfd and loaded through
 * /proc/self/fd, so no file system is involved and no path can be swapped under us.
 *
 * The memfd stays open for ever: the dynamic loader knows a library by its path, and a reused
 * descriptor number would name the module that was loaded through it before.
 */
#include "sched/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/base/hash.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/object.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__riscv)
#define MACHINE EM_RISCV
#else
#error "the ELF machine number of this architecture is not known here"
#endif

struct function {
	UT_hash_handle hh;
	swarm_task_fn fn;
	char name[SWARM_NAME_MAX];
};

struct module {
	UT_hash_handle hh;
	struct swarm_oid id;
	void *handle;
	struct function *functions;
};

struct swi_modules {
	struct module *loaded;
};

struct swarm_oid swi_module_id(const void *bytes, uint64_t len)
{
	const XXH128_hash_t h = XXH3_128bits(bytes, len);

	return (struct swarm_oid){{h.low64 | !(h.low64 | h.high64), h.high64}};
}

int swi_module_check(const void *bytes, uint64_t len, char *why, size_t why_len)
{
	Elf64_Ehdr eh;

	if (len < sizeof(eh) || memcmp(bytes, ELFMAG, SELFMAG)) {
		snprintf(why, why_len, "it is not an ELF file");
		return SWARM_EMODULE;
	}
	memcpy(&eh, bytes, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != MACHINE) {
		snprintf(why, why_len, "it is built for another machine (ELF machine %u)",
			 eh.e_machine);
		return SWARM_EMODULE;
	}
	if (eh.e_type != ET_DYN) {
		snprintf(why, why_len, "it is not a shared object: build it with -shared -fPIC");
		return SWARM_EMODULE;
	}
	return 0;
}

int swi_modules_create(struct swi_modules **out)
{
	struct swi_modules *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*out = m;
	return 0;
}

static int write_all(int fd, const uint8_t *p, uint64_t len)
{
	while (len) {
		const ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int open_bytes(const void *bytes, uint64_t len, struct swarm_oid id, void **out_handle,
		      char *why, size_t why_len)
{
	char name[64], path[64];
	void *handle;
	int fd, rc;

	snprintf(name, sizeof(name), "swarm-module-%016llx%016llx", (unsigned long long)id.w[0],
		 (unsigned long long)id.w[1]);
	fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0) {
		snprintf(why, why_len, "no memory file for the module: %s", strerror(errno));
		return SWARM_EMODULE;
	}
	rc = write_all(fd, bytes, len);
	if (rc < 0) {
		snprintf(why, why_len, "cannot write the module's memory file: %s", strerror(-rc));
		close(fd);
		return SWARM_EMODULE;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		snprintf(why, why_len, "the loader refuses it: %s", dlerror());
		close(fd);
		return SWARM_EMODULE;
	}
	*out_handle = handle;
	return 0;
}

static int load_view(struct swarm_ref ref, const struct swarm_view *v, void **out_handle, char *why,
		     size_t why_len)
{
	if (!swarm_oid_equal(swi_module_id(v->data, v->len), ref.id)) {
		snprintf(why, why_len, "its bytes do not have the digest that names it");
		return SWARM_ECORRUPT;
	}
	if (swi_module_check(v->data, v->len, why, why_len))
		return SWARM_EMODULE;
	return open_bytes(v->data, v->len, ref.id, out_handle, why, why_len);
}

static int load(struct swi_modules *m, struct swarm_store *store, struct swarm_ref ref,
		struct module **out, char *why, size_t why_len)
{
	char what[256] = "";
	struct swarm_view v;
	struct module *mod;
	void *handle = NULL;
	int rc = swarm_store_get(store, ref, SWARM_FOREVER, &v);

	if (!rc) {
		rc = load_view(ref, &v, &handle, what, sizeof(what));
		swarm_view_release(store, &v);
	} else {
		snprintf(what, sizeof(what), "%s", swarm_strerror(rc));
	}
	if (rc) {
		snprintf(why, why_len, "module %016llx%016llx cannot be loaded: %s",
			 (unsigned long long)ref.id.w[0], (unsigned long long)ref.id.w[1], what);
		return rc;
	}
	mod = calloc(1, sizeof(*mod));
	if (!mod) {
		snprintf(why, why_len, "no memory");
		return -ENOMEM;
	}
	mod->id = ref.id;
	mod->handle = handle;
	HASH_ADD(hh, m->loaded, id, sizeof(mod->id), mod);
	*out = mod;
	return 0;
}

static int look_up(struct module *mod, const char *function, swarm_task_fn *out_fn, char *why,
		   size_t why_len)
{
	struct function *f;
	void *sym;

	HASH_FIND_STR(mod->functions, function, f);
	if (f) {
		*out_fn = f->fn;
		return 0;
	}
	sym = dlsym(mod->handle, function);
	if (!sym) {
		snprintf(why, why_len,
			 "module %016llx%016llx has no function named %s (is it a SWARM_TASK, and exported?)",
			 (unsigned long long)mod->id.w[0], (unsigned long long)mod->id.w[1], function);
		return SWARM_ENOFUNC;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		snprintf(why, why_len, "no memory");
		return -ENOMEM;
	}
	/* POSIX guarantees that an object pointer from dlsym() carries a function's address. */
	memcpy(&f->fn, &sym, sizeof(sym));
	snprintf(f->name, sizeof(f->name), "%s", function);
	HASH_ADD_STR(mod->functions, name, f);
	*out_fn = f->fn;
	return 0;
}

int swi_module_function(struct swi_modules *m, struct swarm_store *store, struct swarm_ref ref,
			const char *function, swarm_task_fn *out_fn, char *why, size_t why_len)
{
	struct module *mod;
	int rc;

	HASH_FIND(hh, m->loaded, &ref.id, sizeof(ref.id), mod);
	if (!mod) {
		rc = load(m, store, ref, &mod, why, why_len);
		if (rc)
			return rc;
	}
	return look_up(mod, function, out_fn, why, why_len);
}
