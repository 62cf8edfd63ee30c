# SPDX-License-Identifier: ISC
# make: everything into build/. make check, check-slow, lint, asan, fuzz, bench, fmt, install, clean.
CC ?= gcc
BUILD ?= build
PARALLEL = -j$(shell nproc)
VERSION := 0.1.0
PKGS := libevent libunbound libseccomp libcap jansson libgsasl libssl libcrypto libxcrypt libcurl zlib libpcre2-8
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough \
	-Wnull-dereference -Werror
# Where the queue is, unless configured otherwise; postdrop(1) knows no other place.
SPOOL ?= /var/spool/veredus
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
ALL_CFLAGS := -std=c17 -D_GNU_SOURCE -DVEREDUS_VERSION='"$(VERSION)"' -DVEREDUS_SPOOL='"$(SPOOL)"' $(WARNINGS) $(HARDEN) $(CFLAGS) \
	-MMD -MP
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
LIBS := -lssl -lcrypto -levent -lseccomp -lcap -lpcre2-8

DAEMONS := master keeper smtpd submission qmgr bounce resolver smtp-client limits table logger checker fetcher local pickup
LIBS_checker := -lgsasl -lcrypt -lcrypto -ljansson -lpam
LIBS_fetcher := -lcurl -lidn2
LIBS_limits := -ljansson -lz
LIBS_resolver := -lunbound -lidn2
LIBS_qmgr := -lpthread -lidn2
LIBS_veredus := -ljansson -lresolv -lgsasl -ldb

# postdrop and sendmail are programs of their own.
objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out pickup/postdrop%.c ctl/sendmail_main.c,$(wildcard $(1)/*.c)))

# What make alone does: ./demo wants the sink, too.
all: programs bench-programs

# What make install installs.
PROGRAMS := $(DAEMONS:%=$(BUILD)/%) $(BUILD)/postdrop $(BUILD)/sendmail $(BUILD)/veredus
programs: $(PROGRAMS)

# A daemon sees its own folder, queue and lib, so the arrows between folders stay true.
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC $<"
	@$(CC) $(ALL_CFLAGS) -I$(<D) $(if $(filter lib/%,$<),,-Iqueue) -Ilib -c $< -o $@

$(BUILD)/libveredus.a: $(call objs,lib)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/libqueue.a: $(call objs,queue)
	@rm -f $@
	@ar rcs $@ $^

define daemon_rule
$(BUILD)/$(1): $(call objs,$(1)) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	@echo "LD $$@"
	@$$(CC) $$(LDFLAGS_ALL) $$^ $$(LIBS_$(1)) $$(LIBS) -o $$@
endef
$(foreach d,$(DAEMONS),$(eval $(call daemon_rule,$(d))))

$(BUILD)/veredus: $(call objs,ctl) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	@echo "LD $@"
	@$(CC) $(LDFLAGS_ALL) $^ $(LIBS_veredus) $(LIBS) -o $@

# Started for each mail: the C library, and nothing else. What it does besides delivery is the command's.
SENDMAIL := sendmail sendmail_encode sendmail_header sendmail_main sendmail_options sendmail_post sendmail_text load program say
$(BUILD)/sendmail: $(SENDMAIL:%=$(BUILD)/obj/ctl/%.o) $(BUILD)/libveredus.a
	@echo "LD $@"
	@$(CC) $(LDFLAGS_ALL) $^ -o $@

# Setgid where it is installed: the C library and the frames' rules, and nothing else.
POSTDROP := pickup/postdrop pickup/postdrop_hatch pickup/drop_taker lib/drop lib/siphash lib/must lib/text
$(BUILD)/postdrop: $(POSTDROP:%=$(BUILD)/obj/%.o)
	@echo "LD $@"
	@$(CC) $(LDFLAGS_ALL) $^ -o $@

# The settings' part of the page comes from the table that the reader uses.
$(BUILD)/man/veredus.conf.5: lib/veredus.conf.5.in $(BUILD)/veredus
	@mkdir -p $(@D)
	$(BUILD)/veredus config man | sed -e '/^@SETTINGS@$$/{r /dev/stdin' -e 'd}' $< > $@
programs: $(BUILD)/man/veredus.conf.5

# The load generator, the sink and the bare loop stand alone.
BENCHES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(filter-out bench/slowsync.c,$(wildcard bench/*.c)))
bench-programs: $(BENCHES) $(BUILD)/bench/slowsync.so
$(BUILD)/bench/%: bench/%.c $(wildcard bench/*.h)
	@mkdir -p $(@D)
	@echo "LD $@"
	@$(CC) $(ALL_CFLAGS) -MF $@.d $< -pie -pthread $(if $(filter load sink,$*),-lssl -lcrypto) -o $@
$(BUILD)/bench/slowsync.so: bench/slowsync.c
	@mkdir -p $(@D)
	@echo "LD $@"
	@$(CC) $(ALL_CFLAGS) -MF $@.d -fPIC -shared $< -ldl -o $@

# Unit tests link the objects that the daemons link: tests/unit/test_NAME.c, with the folders
# whose objects (but their main) it needs beside lib and queue named in UNITS_NAME.
-include tests/unit/units.mk
UNITS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
unit_objs = $(foreach d,$(UNITS_$(1)),$(filter-out $(BUILD)/obj/$(d)/$(subst -,_,$(d)).o,$(call objs,$(d))))
define unit_rule
$(BUILD)/unit/$(1): tests/unit/$(1).c $(call unit_objs,$(1)) $(if $(UNIT_SIM_$(1)),tests/sim/simdisk.c tests/sim/ledger.c tests/sim/ledger_body.c tests/sim/ledger_step.c) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	@mkdir -p $$(@D)
	@echo "LD $$@"
	@$$(CC) $$(ALL_CFLAGS) $$(foreach d,$$(UNITS_$(1)),-I$$(d)) -Iqueue -Ilib -Itests/sim -I. -MF $$@.d $$(filter %.c %.o %.a,$$^) \
		$$(LDFLAGS_ALL) $$(LIBS_UNIT_$(1)) $$(LIBS) -lcmocka -lpthread -o $$@
endef
$(foreach u,$(UNITS),$(eval $(call unit_rule,$(u))))
units: $(UNITS:%=$(BUILD)/unit/%)

# What the compiler says of each file, without making anything of it: for the warnings of another one (make lint).
FILES := $(wildcard $(addsuffix /*.c,$(DAEMONS) ctl queue lib bench tests/unit tests/fuzz tests/sim))
SYNTAX := $(FILES:%=syntax-of-%)
$(SYNTAX): syntax-of-%:
	@$(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -I$(*D) $(foreach d,$(UNITS_$(basename $(*F))),-I$(d)) \
		$(if $(filter tests/%,$*),-Iqmgr -Itests/sim -I.) $(if $(filter lib/%,$*),,-Iqueue) -Ilib -fsyntax-only $*
syntax: $(SYNTAX)
.PHONY: syntax $(SYNTAX)

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

# PREFIX and DESTDIR as usual. Users are made only on this very machine: as root, without DESTDIR
# (packages use examples/veredus.sysusers).
PREFIX ?= /usr/local
USERS := keeper smtpd submission qmgr bounce resolver smtp-client limits table logger checker pam fetcher local pickup
EXAMPLES := relay bulk isp smarthost fail2ban-veredus local-delivery
install: programs
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/libexec/veredus $(DESTDIR)/etc/veredus \
		$(DESTDIR)/var/spool/veredus
	install -m 755 $(BUILD)/veredus $(DESTDIR)$(PREFIX)/sbin/veredus
	install -m 755 $(DAEMONS:%=$(BUILD)/%) $(DESTDIR)$(PREFIX)/libexec/veredus/
	install -m 755 $(BUILD)/postdrop $(BUILD)/sendmail $(DESTDIR)$(PREFIX)/sbin/
	for name in mailq newaliases; do ln -sf veredus $(DESTDIR)$(PREFIX)/sbin/$$name || exit 1; done
	for page in $(wildcard */*.[1-8]) $(BUILD)/man/veredus.conf.5; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in service socket; do sed 's,/usr/local,$(PREFIX),g' examples/veredus.$$unit \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/veredus.$$unit || exit 1; done
	install -D -m 644 examples/veredus.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/veredus.conf
	install -D -m 644 examples/veredus.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/veredus.conf
	install -d $(DESTDIR)$(PREFIX)/share/doc/veredus/examples
	install -m 644 $(EXAMPLES:%=examples/%.conf) examples/config-v1.1.xml $(DESTDIR)$(PREFIX)/share/doc/veredus/examples/
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || for name in $(USERS); do \
		getent passwd veredus-$$name > /dev/null || { echo "user veredus-$$name"; \
		useradd --system --user-group --no-create-home --home-dir /nonexistent \
			--shell /usr/sbin/nologin veredus-$$name; } || exit 1; done
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || { \
		{ getent group veredus-postdrop > /dev/null || groupadd --system veredus-postdrop; } && \
		chgrp veredus-postdrop $(PREFIX)/sbin/postdrop && chmod 2755 $(PREFIX)/sbin/postdrop && \
		install -d -o veredus-pickup -g veredus-postdrop -m 1730 $(SPOOL)/maildrop; }

clean:
	rm -rf $(BUILD)

.PHONY: all programs units fmt install clean bench-programs
-include $(shell find $(BUILD) -path $(BUILD)/peers -prune -o -type f -name '*.d' -print 2>/dev/null)

# Each fuzz target tests/fuzz/fuzz_NAME.c is linked twice: with a plain main that replays its
# corpus (tests/fuzz/corpus/fuzz_NAME, in check), and with libFuzzer (fuzz). Folders it needs
# beside lib and queue stand in tests/unit/units.mk as UNITS_fuzz_NAME.
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
define fuzz_rule
$(BUILD)/replay/$(1): tests/fuzz/$(1).c tests/fuzz/replay.c $(call unit_objs,$(1)) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	@mkdir -p $$(@D)
	@echo "LD $$@"
	@$$(CC) $$(ALL_CFLAGS) $$(foreach d,$$(UNITS_$(1)),-I$$(d)) -Iqueue -Ilib -MF $$@.d $$(filter %.c %.o %.a,$$^) \
		$$(LDFLAGS_ALL) $$(LIBS_UNIT_$(1)) $$(LIBS) -lpthread -o $$@
$(BUILD)/fuzz/$(1): tests/fuzz/$(1).c $(call unit_objs,$(1)) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	@mkdir -p $$(@D)
	@echo "LD $$@"
	@$$(CC) $$(ALL_CFLAGS) $$(foreach d,$$(UNITS_$(1)),-I$$(d)) -Iqueue -Ilib -MF $$@.d $$(filter %.c %.o %.a,$$^) \
		$$(LDFLAGS_ALL) -fsanitize=fuzzer $$(LIBS_UNIT_$(1)) $$(LIBS) -lpthread -o $$@
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzz_rule,$(f))))
replays: $(FUZZERS:%=$(BUILD)/replay/%)
fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/%)

# libFuzzer on each, FUZZ_SECONDS long; what it finds is left in build/fuzzing/found.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -Wno-error -Wno-format-nonliteral -Wno-string-conversion -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fprofile-instr-generate -fcoverage-mapping
fuzz: fuzzing-programs
	tests/fuzz/run $(FUZZ_SECONDS) $(FUZZERS)
fuzzing-programs:
	$(MAKE) $(PARALLEL) BUILD=build/fuzzing CC=clang CFLAGS='$(FUZZ_FLAGS)' \
		LDFLAGS='-fsanitize=address,undefined -fprofile-instr-generate' fuzzers

# Lines of each decoder that its target's corpus alone reaches; below 90 % it fails.
coverage: fuzzing-programs
	tests/fuzz/coverage.sh build/fuzzing
.PHONY: fuzzing-programs coverage

# Every test: units, corpora, the whole system with real peers. TESTS names some of them.
check: all units replays
	tests/peers
	VEREDUS_BUILD=$(BUILD) tests/run $(TESTS)

# What takes longer: all of check under the sanitizers, what is marked as slow, each fuzz target for a while, and what
# their corpora cover.
check-slow: asan check-long fuzz-briefly coverage
fuzz-briefly:
	$(MAKE) fuzz FUZZ_SECONDS=3
check-long: all
	tests/peers
	VEREDUS_BUILD=$(BUILD) tests/run --slow $(LONG)
LONG := $(patsubst tests/%.py,%,$(shell grep -l 'v\.slow' tests/e2e/*.py))

# Postfix, the bare loop and Veredus by turns, as root; BENCH_FLAGS as `bench/run.py --help` says.
bench: all
	tests/peers postfix dovecot-core
	python3 bench/run.py --build $(BUILD) --syscalls $(BENCH_FLAGS)
	python3 bench/calls.py --build $(BUILD)

# The jails stay on under the sanitizers. Compilers warn of more in such code than there is.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
asan:
	$(MAKE) $(PARALLEL) BUILD=build/asan CFLAGS='-O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0 \
		-Wno-error=format-truncation -Wno-error=null-dereference -Wno-error=maybe-uninitialized $(SANITIZE)' \
		LDFLAGS='$(SANITIZE)' check

# Layout, arrows between folders, licence lines, and what clang finds (tests/clang-tidy).
lint:
	tests/lint

.PHONY: replays fuzzers fuzz check check-slow check-long fuzz-briefly asan lint bench

# make sim SEED=1 HOURS=1: the real queue and scheduler through virtual hours of crashes and faults.
# What breaks is shrunk to a line with STEPS, FROM, MAILS, CALM and ONLY (docs/simulator.md).
SEED ?= 1
HOURS ?= 1
SIM_OBJS := $(filter-out $(BUILD)/obj/qmgr/qmgr.o $(BUILD)/obj/qmgr/pool.o,$(call objs,qmgr))
$(BUILD)/sim: $(patsubst %,tests/sim/%.c,sim sim_channel sim_face sim_mail sim_person sim_world scenario book simdisk fault shrink trace) $(SIM_OBJS) $(BUILD)/libqueue.a $(BUILD)/libveredus.a
	$(CC) $(ALL_CFLAGS) -Iqmgr -Iqueue -Ilib -Itests/sim -MF $@.d $(filter %.c %.o %.a,$^) $(LDFLAGS_ALL) \
		-Wl,--wrap=queue_open,--wrap=close -lidn2 $(LIBS) -lpthread -o $@
sim: $(BUILD)/sim
	$(BUILD)/sim seed=$(SEED) hours=$(HOURS) $(if $(STEPS),steps=$(STEPS)) $(if $(FROM),from=$(FROM)) \
		$(if $(MAILS),mails=$(MAILS)) $(if $(CALM),calm=$(CALM)) $(if $(ONLY),only=$(ONLY)) \
		$(if $(PLANT),plant=$(PLANT)) $(if $(SHRINK),shrink=$(SHRINK))
check check-slow: $(BUILD)/sim
.PHONY: sim

# The corpus files that follow from messages.def and events.def (tests/fuzz/seeds.c).
$(BUILD)/seeds: tests/fuzz/seeds.c tests/fuzz/message_sample.h $(BUILD)/libveredus.a
	@echo "LD $@"
	@$(CC) $(ALL_CFLAGS) -Ilib -MF $@.d $(filter %.c %.a,$^) $(LDFLAGS_ALL) $(LIBS) -o $@
seeds: $(BUILD)/seeds
	$(BUILD)/seeds tests/fuzz/corpus
.PHONY: seeds
