$(BUILD)/unit/test_session $(BUILD)/unit/test_session_course: tests/unit/session_host.c
LIBS_UNIT_test_session = $(BUILD)/libveredus.a
LIBS_UNIT_test_session_course = $(BUILD)/libveredus.a
$(BUILD)/unit/test_channel $(BUILD)/unit/test_channel_descriptors: tests/unit/channel_line.c
UNITS_test_counter := limits
UNITS_test_tally := limits
UNITS_test_takeover := limits
UNITS_fuzz_takeover := limits
UNITS_test_tls_reports := limits
UNITS_fuzz_tls_reports := limits
LIMITS_UNITS := test_counter test_tally test_takeover test_tls_reports fuzz_takeover fuzz_tls_reports
$(foreach t,$(LIMITS_UNITS),$(eval LIBS_UNIT_$(t) := -ljansson -lz))
UNITS_test_line := logger
LIBS_UNIT_test_line := -ljansson
UNITS_test_dns_packet := resolver
LIBS_UNIT_test_dns_packet := -lunbound -lidn2
UNITS_test_tlsa := resolver
LIBS_UNIT_test_tlsa := -lunbound -lidn2
UNIT_SIM_test_queue := 1
UNIT_SIM_test_queue_crash := 1
UNIT_SIM_test_queue_pools := 1
UNITS_test_neighbours := master
UNITS_fuzz_dns_packet := resolver
LIBS_UNIT_fuzz_dns_packet := -lunbound -lidn2
UNITS_fuzz_report := bounce
UNITS_test_report := bounce
UNITS_test_mx := resolver
UNITS_resolver_bench := resolver
$(BUILD)/unit/test_mx: tests/unit/resolver_bench.c
LIBS_UNIT_test_mx = $(BUILD)/libveredus.a -lunbound -lidn2
UNITS_test_reply := smtp-client
UNITS_test_dialog := smtp-client
UNITS_test_dialog_body := smtp-client
UNITS_test_dialog_tls := smtp-client
UNITS_test_ahead := smtp-client
UNITS_test_several := smtp-client
UNITS_test_requiretls := smtp-client
UNITS_test_tls_plan := smtp-client
UNITS_test_attempt := smtp-client
UNITS_test_job := smtp-client
# The one object of the command that has no need of a queue.
$(BUILD)/unit/test_filter: $(BUILD)/obj/ctl/filter.o
LIBS_UNIT_test_filter = $(BUILD)/libveredus.a
UNITS_fuzz_reply := smtp-client
UNITS_fuzz_dialog := smtp-client
UNITS_dialog_play := smtp-client
$(BUILD)/unit/test_dialog $(BUILD)/unit/test_dialog_body $(BUILD)/unit/test_dialog_tls $(BUILD)/unit/test_ahead $(BUILD)/unit/test_several $(BUILD)/unit/test_requiretls: tests/unit/dialog_play.c
# The scheduler alone: the rest of qmgr leans on its main.
SCHEDULER_TESTS := test_scheduler test_scheduler_fairness test_scheduler_sites test_scheduler_ways
$(SCHEDULER_TESTS:%=$(BUILD)/unit/%): $(patsubst %,$(BUILD)/obj/qmgr/%.o,scheduler answers jobs domains lanes wheel mail table way)
$(SCHEDULER_TESTS:%=$(BUILD)/unit/%): tests/unit/scheduler_world.c
$(foreach t,$(SCHEDULER_TESTS),$(eval LIBS_UNIT_$(t) = $$(BUILD)/libqueue.a $$(BUILD)/libveredus.a -lidn2))
$(BUILD)/replay/fuzz_filter $(BUILD)/fuzz/fuzz_filter: $(BUILD)/obj/ctl/filter.o
LIBS_UNIT_fuzz_filter = $(BUILD)/libveredus.a
UNITS_fuzz_line := logger
LIBS_UNIT_fuzz_line := -ljansson
$(BUILD)/replay/fuzz_import $(BUILD)/fuzz/fuzz_import: \
	$(patsubst %,$(BUILD)/obj/ctl/%.o,queue_import import_envelope import_content words)
LIBS_UNIT_fuzz_import = $(BUILD)/libqueue.a $(BUILD)/libveredus.a -ljansson
LIBS_UNIT_test_scram := -lgsasl -lcrypto
UNITS_test_guesses := checker
LIBS_UNIT_test_guesses := -lgsasl -lcrypt -lcrypto -ljansson -lpam
UNITS_fuzz_exchange := checker
LIBS_UNIT_fuzz_exchange := -lgsasl -lcrypt -lcrypto -ljansson -lpam
UNITS_test_keeper := keeper
UNITS_fuzz_demand := keeper
# Reading alone: the rest of the checker leans on its main.
$(BUILD)/replay/fuzz_token_message $(BUILD)/fuzz/fuzz_token_message: $(BUILD)/obj/checker/introspection.o
LIBS_UNIT_fuzz_token_message = $(BUILD)/libveredus.a -ljansson -lgsasl -lcrypto
$(BUILD)/unit/test_tokens: $(BUILD)/obj/checker/introspection.o $(BUILD)/obj/fetcher/permission.o
LIBS_UNIT_test_tokens = $(BUILD)/libveredus.a -ljansson -lgsasl -lcrypto
# What sendmail(1) does without any I/O.
SENDMAIL_PARTS := $(patsubst %,$(BUILD)/obj/ctl/%.o,sendmail_encode sendmail_header sendmail_options sendmail_text)
$(BUILD)/unit/test_sendmail $(BUILD)/replay/fuzz_sendmail $(BUILD)/fuzz/fuzz_sendmail: $(SENDMAIL_PARTS)
LIBS_UNIT_test_sendmail = $(BUILD)/libveredus.a
LIBS_UNIT_fuzz_sendmail = $(BUILD)/libveredus.a
# What postdrop does with frames.
$(BUILD)/unit/test_drop $(BUILD)/replay/fuzz_drop $(BUILD)/fuzz/fuzz_drop: $(BUILD)/obj/pickup/drop_taker.o
LIBS_UNIT_test_drop = $(BUILD)/libveredus.a
LIBS_UNIT_fuzz_drop = $(BUILD)/libveredus.a
# Policies alone: the rest of the fetcher leans on its main.
STS_OBJS := $(patsubst %,$(BUILD)/obj/fetcher/%.o,sts_policy sts_disk sts_domain)
$(BUILD)/unit/test_sts $(BUILD)/replay/fuzz_sts $(BUILD)/fuzz/fuzz_sts: $(STS_OBJS)
LIBS_UNIT_test_sts = $(BUILD)/libqueue.a $(BUILD)/libveredus.a -lidn2
LIBS_UNIT_fuzz_sts = $(BUILD)/libqueue.a $(BUILD)/libveredus.a -lidn2
UNITS_test_letter := local
UNITS_fuzz_result := local
UNITS_test_virtual := local
UNITS_test_maildir := local
UNITS_test_crew := local
UNITS_test_plan := local
$(BUILD)/unit/test_plan $(BUILD)/unit/test_crew: tests/unit/table_play.c
UNITS_test_alias_file := local
UNITS_fuzz_words := local
UNITS_test_maildirsize := local
UNITS_fuzz_maildirsize := local
UNITS_fuzz_target := local
# Talking as a client, and reading tokens: the rest of the checker leans on its main.
$(BUILD)/unit/test_relay: $(BUILD)/obj/checker/relay_talk.o $(BUILD)/obj/checker/token_answer.o
LIBS_UNIT_test_relay = $(BUILD)/libveredus.a -ljansson -lgsasl -lcrypto
$(BUILD)/unit/test_relay_secret: $(patsubst %,$(BUILD)/obj/checker/%.o,relay relay_secret relay_state relay_token relay_talk token_answer)
LIBS_UNIT_test_relay_secret = $(BUILD)/libveredus.a -ljansson -lgsasl -lcrypto
UNITS_test_dialog_login := smtp-client
$(BUILD)/unit/test_dialog_login: tests/unit/dialog_play.c
UNITS_fuzz_relay := smtp-client
$(BUILD)/replay/fuzz_relay $(BUILD)/fuzz/fuzz_relay: $(BUILD)/obj/checker/relay_talk.o $(BUILD)/obj/checker/token_answer.o
LIBS_UNIT_fuzz_relay = $(BUILD)/libveredus.a -ljansson -lgsasl -lcrypto
LIBS_UNIT_test_table_db := -ldb
