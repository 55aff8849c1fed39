/* SPDX-License-Identifier: Apache-2.0 */
/* key.c - the cluster key on disk: 64 hex digits in a file that only its owner reads. No state. */
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/host.h"

#define HEX (2 * SWI_CLUSTER_KEY_BYTES)

static int key_fail(int fd, char *why, size_t why_len, const char *path, const char *what)
{
	snprintf(why, why_len, "the cluster key %s %s", path, what);
	if (fd >= 0)
		close(fd);
	return SWARM_EAUTH;
}

int swi_key_read(const char *path, uint8_t key[SWI_CLUSTER_KEY_BYTES], char *why, size_t why_len)
{
	char hex[HEX + 8] = "";
	struct stat st;
	size_t bin = 0;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return key_fail(fd, why, why_len, path,
				errno == ENOENT ? "is not there: copy it from the head node"
						: "cannot be read by this user");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (st.st_mode & 077))
		return key_fail(fd, why, why_len, path,
				"must be a file that its owner alone may read: chmod 600 it");
	ssize_t n = read(fd, hex, sizeof(hex) - 1);

	while (n > 0 && (hex[n - 1] == '\n' || hex[n - 1] == '\r' || hex[n - 1] == ' '))
		n--;
	if (n != HEX || sodium_hex2bin(key, SWI_CLUSTER_KEY_BYTES, hex, HEX, NULL, &bin, NULL) ||
	    bin != SWI_CLUSTER_KEY_BYTES) {
		sodium_memzero(hex, sizeof(hex));
		return key_fail(fd, why, why_len, path, "is not 64 hex digits");
	}
	sodium_memzero(hex, sizeof(hex));
	close(fd);
	return 0;
}

int swi_key_make(const char *path, uint8_t key[SWI_CLUSTER_KEY_BYTES], char *why, size_t why_len)
{
	char hex[HEX + 1], tmp[4096];
	uint8_t fresh[SWI_CLUSTER_KEY_BYTES];

	if (access(path, F_OK) == 0)
		return swi_key_read(path, key, why, why_len);
	if (sodium_init() < 0 ||
	    snprintf(tmp, sizeof(tmp), "%s.%ld", path, (long)getpid()) >= (int)sizeof(tmp))
		return key_fail(-1, why, why_len, path, "cannot be made");
	const int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return key_fail(-1, why, why_len, path, "cannot be written: is its folder there?");
	randombytes_buf(fresh, sizeof(fresh));
	sodium_bin2hex(hex, sizeof(hex), fresh, sizeof(fresh));
	hex[HEX] = '\n';
	const bool ok = write(fd, hex, sizeof(hex)) == (ssize_t)sizeof(hex) && !fsync(fd);

	close(fd);
	/* link() does not overwrite: of two that make it at once one wins, and both read the same. */
	const bool there = ok && (!link(tmp, path) || errno == EEXIST);

	unlink(tmp);
	sodium_memzero(hex, sizeof(hex));
	sodium_memzero(fresh, sizeof(fresh));
	if (!there)
		return key_fail(-1, why, why_len, path, "cannot be written");
	return swi_key_read(path, key, why, why_len);
}
