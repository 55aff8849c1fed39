/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_uring.c - the real disk: a folder on a disk and one in tmpfs, the fall-backs where the
 * kernel refuses, a file system that runs full, a folder that vanishes.
 *
 * Refusals are made by real system call filters (seccomp) in a child process.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spill_rig.h"
#include "tests/patience.h"

#define SOME 60u

static uint64_t len_of(uint64_t n)
{
	return n % 3 ? n * 117 : KIB(64) + n * KIB(9);
}

/* In a child, the assertions of which must not run on in the parent: 0 = all is well. */
static int write_and_restore(struct rig *r)
{
	for (uint64_t n = 0; n < SOME; n++)
		if (rig_write(r, n, 0, len_of(n)))
			return 1;
	for (uint64_t n = 0; n < SOME; n++)
		if (rig_restore(r, n, 0, len_of(n)))
			return 2;
	return 0;
}

static void count_done(struct swi_spill_io *io)
{
	assert_int_equal(io->status, 0);
	(*(int *)io->owner)--;
}

static void folder__on_disk_and_tmpfs__works_quietly(void **state SWI_UNUSED)
{
	static const char *const parents[] = {".", "/dev/shm"};

	for (size_t i = 0; i < SWI_ARRAY_LEN(parents); i++) {
		struct rig r;

		rig_init_real(&r, 1, parents[i]);
		assert_int_equal(r.disks[0]->ops->register_memory(r.disks[0], r.staging, MIB(1)), 0);
		rig_open(&r);
		assert_int_equal(write_and_restore(&r), 0);
		if (strstr(r.lines, "io_uring") == NULL) /* where there is a ring, all is quiet */
			assert_string_equal(r.lines, "");
		rig_fini(&r);
	}
}

struct refusal {
	long nr;
	uint32_t err;
	uint32_t arg, mask; /* only where this argument has these bits, unless mask is 0 */
};

static int refuse(const struct refusal *f)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)f->nr, 0, f->mask ? 3 : 1),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 (uint32_t)(offsetof(struct seccomp_data, args) + 8 * f->arg)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, f->mask, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | f->err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = SWI_ARRAY_LEN(code), .filter = code};

	if (!f->mask) { /* no look at an argument */
		code[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)f->nr, 2, 3);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) ? -errno : 0;
}

static int child_run(const struct refusal *f, const char *expect)
{
	struct rig r;
	const char *first;
	int rc;

	if (refuse(f))
		return 77;
	rig_init_real(&r, 1, ".");
	rig_open(&r);
	rc = write_and_restore(&r);
	first = strstr(r.lines, expect);
	if (!rc && !first)
		rc = 3;
	if (!rc && strstr(first + 1, expect))
		rc = 4; /* said more than once */
	if (rc)
		fprintf(stderr, "%s", r.lines);
	rig_fini(&r);
	return rc;
}

static void kernel__refuses__falls_back_with_one_line(void **state SWI_UNUSED)
{
	static const struct {
		struct refusal f;
		const char *line;
	} cases[] = {
		{{SYS_io_uring_setup, EPERM, 0, 0}, "io_uring is not available"},
		{{SYS_io_uring_setup, ENOSYS, 0, 0}, "io_uring is not available"},
		{{SYS_io_uring_enter, EPERM, 0, 0}, "io_uring is not available"},
		{{SYS_openat, EINVAL, 2, O_DIRECT}, "refuses O_DIRECT"},
	};

	for (size_t i = 0; i < SWI_ARRAY_LEN(cases); i++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			_exit(child_run(&cases[i].f, cases[i].line));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* no system call filters here */
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static bool kernel_is_at_least(int major, int minor)
{
	struct utsname u;
	int a = 0, b = 0;

	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%d.%d", &a, &b), 2);
	return a > major || (a == major && b >= minor);
}

/* Threads of this process whose name begins so. */
static int threads_named(const char *name)
{
	DIR *d = opendir("/proc/self/task");
	const struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		char path[320], comm[64] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f) && !strncmp(comm, name, strlen(name)))
			n++;
		if (f)
			fclose(f);
	}
	closedir(d);
	return n;
}

static void ring__has_the_best_flags_and_no_helper_threads(void **state SWI_UNUSED)
{
	struct swi_spill_io io[32];
	int left = 32, seen = 0;
	struct rig r;

	rig_init_real(&r, 1, ".");
	rig_close(&r);
	r.log.level = SWI_LOG_INFO;
	rig_open_disks(&r);
	if (strstr(r.lines, "io_uring is not available")) {
		rig_fini(&r);
		skip();
	}
	assert_non_null(strstr(r.lines, "fixed files, fixed buffers"));
	if (kernel_is_at_least(6, 1))
		assert_non_null(strstr(r.lines, "single issuer, deferred task work"));
	rig_open(&r);
	for (uint64_t i = 0; i < 32; i++) {
		io[i] = (struct swi_spill_io){.id = rig_id(i, 0), .extent = rig_extent(i, 0, KIB(900)),
					      .extent_bytes = swi_extent_bytes(KIB(900)),
					      .cb = count_done, .owner = &left};
		swi_spill_write(r.sp, &io[i]);
	}
	while (left) {
		rig_step(&r);
		seen += threads_named("iou-");
	}
	for (uint64_t i = 0; i < 32; i++)
		free(io[i].extent);
	for (uint64_t i = 0; i < 32; i++)
		assert_int_equal(rig_restore(&r, i, 0, KIB(900)), 0);
	assert_int_equal(seen + threads_named("iou-"), 0);
	rig_fini(&r);
}

static void add_punched(void *ctx, const struct swi_spill_segment *s)
{
	*(uint64_t *)ctx += s->punched_bytes;
}

/* @refused: this thread may not punch holes itself, so the ring has to. 77: no filters, or no holes here. */
static int punch_in_child(bool refused, bool ring)
{
	static const struct refusal punch = {SYS_fallocate, EPERM, 1, FALLOC_FL_PUNCH_HOLE},
				    setup = {SYS_io_uring_setup, ENOSYS, 0, 0};
	const time_t end = time(NULL) + 60;
	uint64_t punched = 0, held = 0;
	struct rig r;
	int rc = 0;

	if ((refused && refuse(&punch)) || (!ring && refuse(&setup)))
		return 77;
	rig_init_real(&r, 1, ".");
	rig_open(&r);
	if (ring && strstr(r.lines, "io_uring is not available"))
		rc = 77;
	for (uint64_t n = 0; n < SOME && !rc; n++)
		rc = rig_write(&r, n, 0, KIB(128)) ? 1 : 0;
	for (uint64_t n = 0; n < SOME && !rc; n++)
		if (n % 5)
			swi_spill_forget(r.sp, rig_id(n, 0));
	held = swi_spill_stats(r.sp)->segment_bytes;
	while (!rc && punched < MIB(3)) {
		rig_step(&r);
		punched = 0;
		swi_spill_each_segment(r.sp, add_punched, &punched);
		if (strstr(r.lines, "punched"))
			rc = 2;
		else if (time(NULL) > end)
			rc = 3;
	}
	if (!rc && swi_spill_stats(r.sp)->segment_bytes != held - punched)
		rc = 4;
	for (uint64_t n = 0; n < SOME && !rc; n += 5)
		rc = rig_restore(&r, n, 0, KIB(128)) ? 5 : 0;
	if (rc)
		fprintf(stderr, "%s", r.lines);
	rig_fini(&r);
	return rc;
}

static void hole__is_punched_by_the_ring__and_without_one(void **state SWI_UNUSED)
{
	for (int ring = 0; ring < 2; ring++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			_exit(punch_in_child(ring, ring));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip();
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void folder__is_locked_against_a_second_log(void **state SWI_UNUSED)
{
	struct swi_disk_uring_opts o = {0};
	struct swi_disk *d;
	char why[256] = "";
	struct rig r;

	rig_init_real(&r, 1, "/dev/shm");
	o.path = r.dirs[0];
	assert_int_equal(swi_disk_uring_create(&o, &r.log, &d, why, sizeof(why)), -EBUSY);
	assert_non_null(strstr(why, "another process"));
	o.path = "/proc/no/such/place";
	assert_true(swi_disk_uring_create(&o, &r.log, &d, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, o.path));
	rig_fini(&r);
}

static void folder__vanishes__open_segments_live_on(void **state SWI_UNUSED)
{
	char moved[160], cmd[768];
	struct rig r;
	uint64_t n = 0;
	int rc = 0;

	rig_init_real(&r, 1, "/dev/shm");
	rig_open(&r);
	assert_int_equal(rig_write(&r, 0, 0, KIB(100)), 0);
	snprintf(moved, sizeof(moved), "%s", r.dirs[0]);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", moved);
	assert_int_equal(system(cmd), 0);
	while (!rc && n++ < 100)
		rc = rig_write(&r, n, 0, KIB(100));
	assert_int_equal(rc, -EIO); /* no new segment: typed, and no folder made anew */
	assert_int_not_equal(access(moved, F_OK), 0);
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(rig_restore(&r, i, 0, KIB(100)), 0);
	rig_fini(&r);
}

/* Somebody else's file of our kind of name, and a folder: left alone, byte by byte, whether kept or swept. */
static void folder__with_foreign_files__leaves_them_alone(void **state SWI_UNUSED)
{
	static const char *const names[] = {"precious.txt", "swarm-0000000000000000.seg"};
	char path[256], text[5000], back[5001];

	memset(text, 'x', sizeof(text));
	for (int keep = 0; keep < 2; keep++) {
		struct rig r;

		rig_init_real(&r, 1, "/dev/shm");
		for (size_t i = 0; i < SWI_ARRAY_LEN(names); i++) {
			int fd;

			snprintf(path, sizeof(path), "%s/%s", r.dirs[0], names[i]);
			fd = open(path, O_CREAT | O_WRONLY, 0600);
			assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
			close(fd);
		}
		r.opts.keep = keep;
		rig_open(&r);
		assert_non_null(strstr(r.lines, "2 files are not of this log"));
		for (uint64_t n = 0; n < 30; n++)
			assert_int_equal(rig_write(&r, n, 0, KIB(200)), 0);
		rig_close(&r);
		for (size_t i = 0; i < SWI_ARRAY_LEN(names); i++) {
			int fd;

			snprintf(path, sizeof(path), "%s/%s", r.dirs[0], names[i]);
			fd = open(path, O_RDONLY);
			assert_int_equal(read(fd, back, sizeof(back)), sizeof(text));
			assert_memory_equal(back, text, sizeof(text));
			close(fd);
		}
		rig_open_disks(&r);
		rig_fini(&r);
	}
}

static void segment__truncated_under_us__drops_the_records(void **state SWI_UNUSED)
{
	char path[256];
	struct rig r;
	int rc;

	rig_init_real(&r, 1, "/dev/shm");
	rig_open(&r);
	assert_int_equal(rig_write(&r, 1, 0, KIB(100)), 0);
	assert_int_equal(rig_write(&r, 2, 0, KIB(100)), 0);
	snprintf(path, sizeof(path), "%s/swarm-%016x.seg", r.dirs[0], 0);
	assert_int_equal(truncate(path, 4096 + (off_t)swi_extent_bytes(KIB(100)) + 5000), 0);
	assert_int_equal(rig_restore(&r, 1, 0, KIB(100)), 0);
	rc = rig_restore(&r, 2, 0, KIB(100));
	assert_true(rc == -EIO || rc == SWARM_ECORRUPT);
	assert_int_equal(rig_restore(&r, 2, 0, KIB(100)), -ENOENT);
	rig_fini(&r);
}

static void *use_from_here(void *arg)
{
	struct rig *r = arg;

	return (void *)(intptr_t)write_and_restore(r);
}

static void log__opened_by_one_thread__runs_in_another(void **state SWI_UNUSED)
{
	struct rig r;
	pthread_t t;
	void *rc;

	rig_init_real(&r, 1, ".");
	rig_open(&r);
	assert_int_equal(rig_write(&r, 1000, 0, 100), 0);
	assert_int_equal(pthread_create(&t, NULL, use_from_here, &r), 0);
	assert_int_equal(pthread_join(t, &rc), 0);
	assert_null(rc);
	assert_int_equal(rig_restore(&r, 1000, 0, 100), 0);
	rig_fini(&r);
}

/* A small ext4 in a file. False: not possible here. */
static bool mount_small(char *img, char *at)
{
	char cmd[1024];

	snprintf(img, 128, "/dev/shm/swarm-spill-img-XXXXXX");
	snprintf(at, 128, "/dev/shm/swarm-spill-mnt-XXXXXX");
	if (geteuid() || !mkdtemp(at))
		return false;
	close(mkstemp(img));
	snprintf(cmd, sizeof(cmd),
		 "{ truncate -s 24M '%s' && mkfs.ext4 -q -m 0 -O ^has_journal '%s' && "
		 "mount -o loop '%s' '%s'; } >/dev/null 2>&1",
		 img, img, img, at);
	return system(cmd) == 0;
}

/* A log on it; or the test is skipped, and says why. */
static void open_small(struct rig *r, char *img, char *at)
{
	if (!mount_small(img, at)) {
		unlink(img);
		rmdir(at);
		print_message("no loop mount here (root, mkfs.ext4 and loop devices are needed)\n");
		skip();
	}
	rig_init_real(r, 1, at);
	r->opts.segment_bytes = MIB(4);
	r->opts.reserve_bytes = MIB(1);
	rig_open(r);
}

static void unmount_small(const char *img, const char *at, bool mounted)
{
	if (mounted)
		assert_int_equal(umount(at), 0);
	unlink(img);
	rmdir(at);
}

static void ext4__runs_full__is_typed_and_nothing_is_lost(void **state SWI_UNUSED)
{
	char img[128], at[128];
	uint64_t n = 0;
	struct rig r;
	int rc = 0;

	open_small(&r, img, at);
	while (!rc && n < 1000)
		rc = rig_write(&r, n++, 0, KIB(100));
	assert_int_equal(rc, SWARM_EDISKFULL);
	assert_true(n > 100);
	assert_false(swi_spill_has_room(r.sp, KIB(100)));
	assert_true(swi_spill_deadline_ns(r.sp) != UINT64_MAX);
	for (uint64_t i = 0; i + 1 < n; i++)
		assert_int_equal(rig_restore(&r, i, 0, KIB(100)), 0);
	for (uint64_t i = 0; i + 1 < n; i++) /* room again: the files go back to the file system, and come anew */
		swi_spill_forget(r.sp, rig_id(i, 0));
	rc = SWARM_EDISKFULL;
	for (const uint64_t end = swi_now(&r.env) + TEST_LIMIT_NS; rc && swi_now(&r.env) < end;)
		rc = rig_write(&r, 5000, 0, KIB(100));
	assert_int_equal(rc, 0);
	assert_int_equal(rig_restore(&r, 5000, 0, KIB(100)), 0);
	rig_fini(&r);
	unmount_small(img, at, true);
}

static void ext4__unmounted_under_us__open_segments_live_on(void **state SWI_UNUSED)
{
	char img[128], at[128];
	uint64_t n = 0;
	struct rig r;
	int rc = 0;

	open_small(&r, img, at);
	assert_int_equal(rig_write(&r, n++, 0, KIB(100)), 0);
	assert_int_equal(umount2(at, MNT_DETACH), 0);
	/* The folder is held by its descriptor: it goes on where it was, and nothing comes to lie elsewhere. */
	while (!rc && n < 120)
		rc = rig_write(&r, n++, 0, KIB(100));
	assert_int_equal(rc, 0);
	assert_int_not_equal(access(r.dirs[0], F_OK), 0);
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(rig_restore(&r, i, 0, KIB(100)), 0);
	rig_fini(&r);
	unmount_small(img, at, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folder__on_disk_and_tmpfs__works_quietly),
		cmocka_unit_test(kernel__refuses__falls_back_with_one_line),
		cmocka_unit_test(ring__has_the_best_flags_and_no_helper_threads),
		cmocka_unit_test(hole__is_punched_by_the_ring__and_without_one),
		cmocka_unit_test(folder__is_locked_against_a_second_log),
		cmocka_unit_test(folder__vanishes__open_segments_live_on),
		cmocka_unit_test(folder__with_foreign_files__leaves_them_alone),
		cmocka_unit_test(segment__truncated_under_us__drops_the_records),
		cmocka_unit_test(log__opened_by_one_thread__runs_in_another),
		cmocka_unit_test(ext4__runs_full__is_typed_and_nothing_is_lost),
		cmocka_unit_test(ext4__unmounted_under_us__open_segments_live_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
