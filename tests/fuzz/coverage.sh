#!/bin/sh
# SPDX-License-Identifier: ISC
# How many lines of its decoder each fuzz target reaches with its corpus alone; fails below 90 %. Run by `make coverage`.
#   coverage.sh BUILD      the build of `make fuzz`
set -eu
bad=0
build=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Target, file, and where a file also writes: a pattern of the functions that are its decoder (+), or of those that are not (-).
cat >"$work/decoders" <<'END'
address lib/address.c
address lib/esmtp.c
aliases lib/alias_list.c
aliases lib/aliases.c -aliases_(load|read_table)|take_entries|file_read|alias_patterns_check
channel lib/channel.c
config lib/config_token.c
config lib/config_read.c
config lib/config_value.c
config lib/config_row.c -setting_field
config lib/config_route_to.c
config lib/config_route.c
config lib/config_route_list.c
config lib/config_finish.c
config lib/config_print.c
config lib/url.c -put_encoded
demand keeper/demand.c
dialog smtp-client/dialog.c
dialog smtp-client/opening.c -opening_on_auth
dialog smtp-client/outbound.c
dialog smtp-client/answers.c
dialog smtp-client/ahead.c
dialog smtp-client/offers.c
dialog smtp-client/job.c -job_set_config
dialog smtp-client/content.c
dns_packet resolver/dns_packet.c
dns_packet resolver/tlsa.c
drop lib/drop.c
drop pickup/drop_taker.c +:(take_|put$|refused)|^drop_(take|is_whole|taker_begin)$
envelope lib/envelope.c
envelope lib/wire.c
exchange checker/dovecot.c -fired|dovecot_(missing|start)
exchange checker/exchange.c -exchanges_forget
exchange checker/file.c +_step(ped)?$|user_find|name_number|password_given|acts_for|is_downgraded|challenge_go|scram_failed
exchange checker/users.c
exchange lib/scram_text.c
filter ctl/filter.c
filter lib/queue_id.c
header lib/header.c -header_lines_fit
header lib/content.c
history lib/history.c +history_(en|de)code|checksum|put_number|next_mark
import ctl/import_content.c
import ctl/import_envelope.c
import ctl/queue_import.c
import ctl/words.c -words_json
line logger/line.c
maildirsize local/maildirsize.c +maildirsize_read|:add$|line_take|quota_line|number_take|change_line
message lib/message.c -message_schema
message lib/messages.def
message lib/wire.c
next_hops lib/next_hops.c
passwd_file lib/passwd_file.c
policy_row lib/policy_row.c -setting_of
queue_record queue/record.c -put|outcome_(dsn|text|bytes|home)
queue_record queue/index.c -index_(write|encode)
queue_record queue/load.c
queue_record queue/reader.c
queue_record queue/view.c
repair lib/repair.c
repair lib/mailboxes.c
repair lib/header_form.c
relay checker/relay_talk.c -talk_choose
relay checker/token_answer.c -put
relay smtp-client/auth.c
reply smtp-client/reply.c
report bounce/report.c
report bounce/report_field.c
result local/result.c -result_set
rewrite_header lib/rewrite_header.c -header_rule_fault
rights lib/rights.c
rights lib/rights_check.c +author_add|read_(field|header|resent)|refuse
sendmail ctl/sendmail_encode.c
sendmail ctl/sendmail_header.c
sendmail ctl/sendmail_options.c
sendmail ctl/sendmail_text.c
sender_words lib/sender_find.c +sender_words_read|word_takes
session lib/session.c
session lib/session_verbs.c
session lib/session_mail.c
session lib/session_data.c
session lib/session_hand.c
session lib/session_repair.c -session_(is_refused|revoke|pending)
session lib/session_trace.c
session_auth lib/base64.c
session_auth lib/sasl.c
session_auth lib/session_auth.c
sts fetcher/sts_policy.c -type_is_plain
sts fetcher/sts_domain.c
sts lib/sts_store.c +(en|de)code|take_known|is_sound|has_only|store_put
sts lib/sts.c +sts_(next|names)|pattern_names
table_db lib/table_db.c
table_rules lib/table_pattern.c
table_rules lib/table_rules.c
table_text lib/table_text.c
target local/target.c
takeover limits/freezer.c +freezer_(en|de)code|take_entry
takeover limits/habits.c +habits_(en|de)code|(take|put)_habit|set_right
tls_reports limits/tls_record.c
tls_reports limits/tls_day.c +(en|de)code|take_|put_|:is_|:row_
tls_reports limits/tls_report.c
token_message checker/introspection.c -put
token_message lib/token_message.c -put
trace lib/history.c
trace lib/history_trace.c
words local/words.c -words_put
END

profile() {
	LLVM_PROFILE_FILE="$work/$1.raw" "$build/fuzz/fuzz_$1" -runs=0 "tests/fuzz/corpus/fuzz_$1" >"$work/$1.said" 2>&1 ||
		{ cat "$work/$1.said"; bad=1; }
	llvm-profdata merge -sparse "$work/$1.raw" -o "$work/$1.profile"
}

# "LINES MISSED" of the functions wanted.
functions() {
	llvm-cov report -show-functions "$build/fuzz/fuzz_$1" -instr-profile="$work/$1.profile" "$2" 2>/dev/null |
		awk -v pattern="${3#?}" -v without="$(printf %.1s "$3")" \
			'NF == 10 && $1 != "Name" && $1 != "TOTAL" && (($1 ~ pattern) == (without == "+")) { lines += $5; missed += $6 }
			END { print lines + 0, missed + 0 }'
}

whole() {
	llvm-cov report "$build/fuzz/fuzz_$1" -instr-profile="$work/$1.profile" "$2" 2>/dev/null |
		awk '$1 == "TOTAL" { print $8, $9 }'
}

for source in tests/fuzz/fuzz_*.c; do
	target=$(basename "$source" .c)
	grep -q "^${target#fuzz_} " "$work/decoders" || { echo "$target: its decoder is not named here"; bad=1; }
done
echo "target        decoder                        lines missed  covered"
while read -r target file pattern; do
	[ -e "$work/$target.profile" ] || profile "$target"
	set -- $(if [ "$pattern" ]; then functions "$target" "$file" "$pattern"; else whole "$target" "$file"; fi) 0 0
	awk -v target="$target" -v file="$file" -v lines="$1" -v missed="$2" 'BEGIN {
		covered = lines ? 100 * (lines - missed) / lines : 0
		printf "%-13s %-30s %5d %6d %7.1f%%%s\n", target, file, lines, missed, covered, covered < 90 ? "  TOO FEW" : ""
		exit covered < 90 }' || bad=1
done <"$work/decoders"
exit $bad
