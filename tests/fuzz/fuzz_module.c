/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_module.c - what is looked at in a module before the loader gets it: the header of an ELF file that a driver, or
 * another node, handed in. (The loader itself runs in the worker, a process that may die.)
 */
#include <elf.h>

#include "sched/module.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[64] = "";
	const int rc = swi_module_check(data, size, why, sizeof(why));

	FUZZ_CHECK(rc ? rc == SWARM_EMODULE && why[0] : !why[0] && size >= sizeof(Elf64_Ehdr) && !memcmp(data, ELFMAG, SELFMAG));
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static const uint16_t machine[] = {EM_X86_64, EM_AARCH64, EM_386};
	Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT}, .e_type = ET_DYN};

	if (i >= 2 * SWI_ARRAY_LEN(machine) || cap < sizeof(eh))
		return 0;
	eh.e_machine = machine[i / 2];
	eh.e_type = i % 2 ? ET_EXEC : ET_DYN;
	memcpy(buf, &eh, sizeof(eh));
	return sizeof(eh);
}
