//! One scrape: every number, and what it means. docs/operating.md lists them; a test compares.

use tandem_dns::{Stats, TransportStats};

use super::Sources;
use super::process::Process;
use super::text::{Kind, Page};
use crate::prober::ProbeStats;

/// The whole page.
pub(super) fn render(sources: &Sources) -> String {
    let mut page = Page::default();
    dns(&mut page, &sources.dns.stats());
    zones(&mut page, sources);
    store(&mut page, sources);
    if let Some(probes) = &sources.probes {
        probe(&mut page, &probes.read());
    }
    process(&mut page);
    page.finish()
}

fn probe(page: &mut Page, stats: &ProbeStats) {
    page.single("tandem_probe_nodes", Kind::Gauge, "Nodes that ask to be probed.", stats.nodes);
    let targets = [([("state", "up")], stats.up), ([("state", "down")], stats.down)];
    page.family("tandem_probe_targets", Kind::Gauge, "Their targets, by what probes say.", targets);
    let turns = stats.turns.map(|(result, count)| ([("result", result)], count));
    let help = "Probes of targets; unknown: nothing was learnt, because of DNS or this machine.";
    page.family("tandem_probe_probes_total", Kind::Counter, help, turns);
    page.single("tandem_probe_demotions_total", Kind::Counter, "Targets that went down.", stats.demotions);
    page.single("tandem_probe_recoveries_total", Kind::Counter, "Targets that came up again.", stats.recoveries);
    let help = "1 while so many fail at once that failures do not count.";
    page.single("tandem_probe_held", Kind::Gauge, help, u8::from(stats.held));
    let help = "Failures that did not count: too many failed, or were demoted, at once.";
    page.single("tandem_probe_held_failures_total", Kind::Counter, help, stats.held_failures);
    let help = "Seconds that the most urgent probe is behind its time; grows when probes.parallel is too low.";
    page.single("tandem_probe_late_seconds", Kind::Gauge, help, stats.late.as_secs_f64());
}

/// Each transport's numbers with its name.
const fn transports(stats: &Stats) -> [(&'static str, &TransportStats); 5] {
    [("udp", &stats.udp), ("tcp", &stats.tcp), ("tls", &stats.tls), ("https", &stats.https), ("quic", &stats.quic)]
}

fn dns(page: &mut Page, stats: &Stats) {
    let transports = transports(stats);
    let answers = transports.iter().flat_map(|(transport, stats)| {
        rcodes(stats).map(|(rcode, count)| ([("transport", *transport), ("rcode", rcode)], count))
    });
    page.family("tandem_dns_answers_total", Kind::Counter, "Answers sent, by transport and response code.", answers);
    let types = transports.iter().flat_map(|(transport, stats)| {
        stats.by_type.iter().map(|(kind, count)| ([("transport", *transport), ("type", kind)], count))
    });
    page.family("tandem_dns_questions_total", Kind::Counter, "Answers, by the type asked for.", types);
    let mut each = |name: &str, help: &str, number: fn(&TransportStats) -> u64| {
        let samples = transports.iter().map(|(transport, stats)| ([("transport", *transport)], number(stats)));
        page.family(name, Kind::Counter, help, samples);
    };
    each("tandem_dns_truncated_total", "Answers with TC set: the client asks again by TCP.", |s| s.truncated);
    each("tandem_dns_ignored_total", "Messages without an answer: responses, and fragments of a header.", |s| {
        s.ignored
    });
    each("tandem_dns_not_sent_total", "Answers that the system or the client did not take.", |s| s.not_sent);
    each("tandem_dns_rate_limited_total", "Answers over the rate of their source, silent or cut.", |s| s.limited);
    each("tandem_dns_rate_slipped_total", "Those of them that were sent cut, with TC set.", |s| s.slipped);
    let streams = &transports[1..];
    let accepted = streams.iter().map(|(transport, stats)| ([("transport", *transport)], stats.accepted));
    page.family("tandem_dns_connections_total", Kind::Counter, "Connections accepted.", accepted);
    let crowded = streams.iter().map(|(transport, stats)| ([("transport", *transport)], stats.crowded_out));
    let help = "Connections closed for want of room, the longest idle first.";
    page.family("tandem_dns_connections_crowded_out_total", Kind::Counter, help, crowded);
    let open = streams.iter().map(|(transport, stats)| ([("transport", *transport)], stats.open));
    page.family("tandem_dns_connections_open", Kind::Gauge, "Connections open now.", open);
    let cookies = transports.iter().flat_map(|(transport, stats)| {
        [("good", stats.cookies_good), ("bad", stats.cookies_bad), ("new", stats.cookies_new)]
            .map(|(state, count)| ([("transport", *transport), ("state", state)], count))
    });
    page.family("tandem_dns_cookies_total", Kind::Counter, "Queries with a cookie, by what it proves.", cookies);
    let transfers = &stats.transfers;
    let outcomes = [
        ("axfr", transfers.axfr),
        ("ixfr", transfers.ixfr),
        ("soa", transfers.soa),
        ("refused", transfers.refused),
        ("broken-off", transfers.broken_off),
        ("bad-signature", transfers.bad_signatures),
    ];
    let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
    page.family(
        "tandem_dns_transfers_total",
        Kind::Counter,
        "Zone transfers asked for, by what came of them.",
        outcomes,
    );
}

/// The response codes by name.
const fn rcodes(stats: &TransportStats) -> [(&'static str, u64); 9] {
    [
        ("NOERROR", stats.no_error),
        ("FORMERR", stats.form_err),
        ("NXDOMAIN", stats.nx_domain),
        ("NOTIMP", stats.not_imp),
        ("REFUSED", stats.refused),
        ("YXDOMAIN", stats.yx_domain),
        ("NOTAUTH", stats.not_auth),
        ("BADVERS", stats.bad_vers),
        ("BADCOOKIE", stats.bad_cookie),
    ]
}

fn zones(page: &mut Page, sources: &Sources) {
    let zones = sources.directory.live().load();
    let names: Vec<(String, u32)> = zones.iter().map(|zone| (zone.apex().to_string(), zone.serial().value())).collect();
    let serials = names.iter().map(|(apex, serial)| ([("zone", apex.as_str())], serial));
    page.family("tandem_zone_serial", Kind::Gauge, "The serial of each zone's SOA record.", serials);
    page.single("tandem_nodes", Kind::Gauge, "Nodes published.", zones.node_count());
}

fn store(page: &mut Page, sources: &Sources) {
    let stats = sources.directory.stats();
    let changes = stats.changes.iter().map(|(kind, count)| ([("kind", *kind)], count));
    page.family("tandem_changes_total", Kind::Counter, "Changes made durable, by kind.", changes);
    page.single("tandem_versions_total", Kind::Counter, "Versions published to DNS.", stats.versions);
    let help = "Commits that failed; their changes were refused.";
    page.single("tandem_store_failed_commits_total", Kind::Counter, help, stats.failed_commits);
    let help = "Reloads of the zone files that the store refused.";
    page.single("tandem_refused_reloads_total", Kind::Counter, help, stats.refused_reloads);
    let help = "Time until a commit of one or more changes was durable.";
    page.histogram("tandem_store_commit_seconds", help, &stats.commit_seconds);
}

fn process(page: &mut Page) {
    let build = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
    page.family("tandem_build_info", Kind::Gauge, "Always 1; the version is a label.", build);
    let process = Process::read();
    if let Some(octets) = process.resident {
        page.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", octets);
    }
    if let Some(seconds) = process.cpu_seconds {
        page.single("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.", seconds);
    }
    if let Some(count) = process.descriptors {
        page.single("process_open_fds", Kind::Gauge, "Open file descriptors.", count);
    }
}
