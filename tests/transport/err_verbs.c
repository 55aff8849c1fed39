/* SPDX-License-Identifier: Apache-2.0 */
/* err_verbs.c - the translation of foreign errors and of addresses. Needs no device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "transport/base/addr.h"
#include "transport/verbs/verbs.h"

static void wc_error__each_status__is_named(void **state SWI_UNUSED)
{
	for (int s = IBV_WC_LOC_LEN_ERR; s <= IBV_WC_GENERAL_ERR; s++)
		assert_true(swi_verbs_wc_error((enum ibv_wc_status)s) < 0);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_SUCCESS), 0);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_REM_ACCESS_ERR), SWARM_EREMOTEACCESS);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_REM_INV_REQ_ERR), SWARM_EREMOTEACCESS);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_RETRY_EXC_ERR), SWARM_EPEERLOST);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_WR_FLUSH_ERR), SWARM_EPEERLOST);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_LOC_LEN_ERR), SWARM_EPROTO);
	assert_int_equal(swi_verbs_wc_error(IBV_WC_FATAL_ERR), -EIO);
}

static void cm_error__each_event__is_negative(void **state SWI_UNUSED)
{
	for (int e = RDMA_CM_EVENT_ADDR_ERROR; e <= RDMA_CM_EVENT_TIMEWAIT_EXIT; e++)
		assert_true(swi_verbs_cm_error((enum rdma_cm_event_type)e, 0, false) < 0);
	assert_int_equal(swi_verbs_cm_error(RDMA_CM_EVENT_REJECTED, 8, false), -ECONNREFUSED);
	assert_int_equal(swi_verbs_cm_error(RDMA_CM_EVENT_REJECTED, 28, false), SWARM_EPROTO);
	assert_int_equal(swi_verbs_cm_error(RDMA_CM_EVENT_ADDR_ERROR, -ENODEV, false), -ENODEV);
	assert_int_equal(swi_verbs_cm_error(RDMA_CM_EVENT_DISCONNECTED, 0, false), SWARM_EPEERLOST);
	assert_int_equal(swi_verbs_errno(0), -EIO);
	assert_int_equal(swi_verbs_errno(EMFILE), -EMFILE);
}

/* A rejection of a connection that was up is not what the other program said of our hello. */
static void cm_error__once_up__the_peer_is_lost(void **state SWI_UNUSED)
{
	for (int e = RDMA_CM_EVENT_ADDR_ERROR; e <= RDMA_CM_EVENT_TIMEWAIT_EXIT; e++)
		assert_int_equal(swi_verbs_cm_error((enum rdma_cm_event_type)e, 28, true),
				 SWARM_EPEERLOST);
}

static void parse__addresses(void **state SWI_UNUSED)
{
	static const char *const bad[] = {"",           ":1",        "1.2.3.4",
					  "1.2.3.4:",   "1.2.3.4:x", "1.2.3.4:70000",
					  "1.2.3.4:-1", "[::1]",     "[::1:5"};
	struct sockaddr_storage sa;

	for (size_t i = 0; i < SWI_ARRAY_LEN(bad); i++)
		assert_int_equal(swi_addr_parse(bad[i], false, &sa), -EINVAL);
	assert_int_equal(swi_addr_parse(NULL, false, &sa), -EINVAL);
	assert_int_equal(swi_addr_parse("10.1.2.3:4567", false, &sa), 0);
	assert_int_equal(sa.ss_family, AF_INET);
	assert_int_equal(ntohs(((struct sockaddr_in *)&sa)->sin_port), 4567);
	assert_int_equal(ntohl(((struct sockaddr_in *)&sa)->sin_addr.s_addr), 0x0a010203);
	assert_int_equal(swi_addr_parse("[fe80::1]:0", true, &sa), 0);
	assert_int_equal(sa.ss_family, AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wc_error__each_status__is_named),
	    cmocka_unit_test(cm_error__each_event__is_negative),
	    cmocka_unit_test(cm_error__once_up__the_peer_is_lost),
	    cmocka_unit_test(parse__addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
