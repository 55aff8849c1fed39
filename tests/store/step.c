/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - see step.h. The tracer is the test's main thread, the victim a child of it with one thread.
 *
 * A write faults; the tracer counts it and lets the victim's handler open the page, steps the one instruction
 * by itself, and has a second handler close the page again. The handlers' own system calls are no steps.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "tests/store/step.h"

struct shared { /* victim and tracer */
	struct {
		uint64_t addr, bytes;
	} range[3];
	struct step_sites sites;
};

static struct shared *shared;
static uint64_t opened; /* page opened by on_fault(), 0 = none */

static bool in_shared(uint64_t addr)
{
	for (uint32_t i = 0; i < 3; i++)
		if (addr - shared->range[i].addr < shared->range[i].bytes)
			return true;
	return false;
}

/* ---- the victim ---- */

/* An access may reach into the next page; both belong to one mapping, or the second is not ours. */
static void protect(uint64_t page, int prot)
{
	const uint64_t next = page + SWI_PAGE;

	syscall(SYS_mprotect, page, in_shared(next) ? 2 * SWI_PAGE : SWI_PAGE, prot);
}

static void note_site(uint64_t pc)
{
	struct step_sites *s = &shared->sites;

	for (uint32_t i = 0; i < s->count; i++)
		if (s->pc[i] == pc)
			return;
	if (s->count < STEP_SITES)
		s->pc[s->count++] = pc;
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	const uint64_t addr = (uint64_t)(uintptr_t)info->si_addr;
	const ucontext_t *uc = ctx;

	if (!in_shared(addr)) { /* a bug of the program: let it die of it */
		signal(sig, SIG_DFL);
		return;
	}
#if defined(__x86_64__)
	note_site((uint64_t)uc->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
	note_site(uc->uc_mcontext.pc);
#endif
	opened = swi_align_down(addr, SWI_PAGE);
	protect(opened, PROT_READ | PROT_WRITE);
}

static void on_stepped(int sig SWI_UNUSED)
{
	protect(opened, PROT_READ);
}

static void close_memory(const struct swi_attachment *at)
{
	const struct swi_mem *m[3] = {&at->arena, &at->index, &at->client};
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	struct sigaction stepped = {.sa_handler = on_stepped};

	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGTRAP, &stepped, NULL);
	for (uint32_t i = 0; i < 3; i++) {
		shared->range[i].addr = (uint64_t)(uintptr_t)m[i]->addr;
		shared->range[i].bytes = m[i]->bytes;
		if (mprotect(m[i]->addr, m[i]->bytes, PROT_READ))
			_exit(3);
	}
}

static void victim(const char *dir, const struct step_op *op)
{
	struct swarm_store *st = NULL;
	char why[256];

	if (!op->bare && swarm_store_attach(dir, &st, why, sizeof(why)))
		_exit(1);
	if (op->prepare)
		op->prepare(st);
	if (st)
		close_memory(&st->at);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(77);
	raise(SIGSTOP);
	op->run(st, dir);
	raise(SIGSTOP);
	_exit(2); /* it is killed where it stopped */
}

/* ---- the tracer ---- */

enum event { EV_END, EV_STEP, EV_OTHER };

struct trace {
	pid_t pid;
	int deliver;	/* signal to hand over with the next resumption */
	bool handler;	/* inside on_fault() or on_stepped() */
	bool one;	/* the next resumption is a single step */
	bool stepped;	/* the one instruction has been done */
	bool in_syscall, own; /* own: the handler's */
};

static void on_syscall_stop(struct trace *t, enum event *ev)
{
	struct __ptrace_syscall_info si;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof(si), &si) < 0)
		fail_msg("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
	if (si.op == PTRACE_SYSCALL_INFO_ENTRY) {
		t->own = t->handler;
		if (t->own && si.entry.nr == SYS_rt_sigreturn) {
			t->handler = false;
			t->one = !t->stepped;
		}
	}
	*ev = t->own ? EV_OTHER : EV_STEP;
}

static void on_signal_stop(struct trace *t, int sig, enum event *ev)
{
	siginfo_t info;

	*ev = EV_OTHER;
	if (ptrace(PTRACE_GETSIGINFO, t->pid, NULL, &info) < 0)
		fail_msg("PTRACE_GETSIGINFO: %s", strerror(errno));
	if (sig == SIGSTOP) {
		*ev = EV_END;
	} else if (sig == SIGSEGV && in_shared((uint64_t)(uintptr_t)info.si_addr)) {
		t->deliver = sig;
		t->handler = true;
		t->stepped = false;
		*ev = EV_STEP;
	} else if (sig == SIGTRAP && !t->stepped) { /* the instruction is done */
		t->deliver = sig;
		t->handler = true;
		t->stepped = true;
	} else {
		fail_msg("the victim got signal %d", sig);
	}
}

/* Resumes and waits for the next event. */
static enum event next(struct trace *t)
{
	enum event ev = EV_OTHER;
	int status;

	/* After rt_sigreturn was entered, its exit comes first; then the one instruction. */
	const bool step = t->one && !t->in_syscall;

	if (step)
		t->one = false;
	if (ptrace(step ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, t->pid, NULL,
		   (void *)(uintptr_t)t->deliver))
		fail_msg("resume: %s", strerror(errno));
	t->deliver = 0;
	if (waitpid(t->pid, &status, 0) != t->pid || !WIFSTOPPED(status))
		fail_msg("the victim ended by itself: %x", status);
	if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
		t->in_syscall = !t->in_syscall;
		on_syscall_stop(t, &ev);
	} else {
		on_signal_stop(t, WSTOPSIG(status), &ev);
	}
	return ev;
}

static pid_t start(const char *dir, const struct step_op *op)
{
	int status;
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		victim(dir, op);
	if (waitpid(pid, &status, 0) != pid)
		fail_msg("waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return -1;
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		fail_msg("the victim could not prepare: %x", status);
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
		fail_msg("PTRACE_SETOPTIONS: %s", strerror(errno));
	return pid;
}

int step_run(const char *dir, const struct step_op *op, uint32_t n, pid_t *out_pid)
{
	struct trace t = {0};
	uint32_t steps = 0;

	if (!shared) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(shared, MAP_FAILED);
	}
	memset(shared->range, 0, sizeof(shared->range));
	t.pid = start(dir, op);
	if (t.pid < 0)
		return -1;
	*out_pid = t.pid;
	for (;;) {
		const enum event ev = next(&t);

		if (ev == EV_END)
			return 0;
		if (ev == EV_STEP && steps++ == n)
			return 1;
	}
}

void step_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status))
		;
}

const struct step_sites *step_sites(void)
{
	return &shared->sites;
}
