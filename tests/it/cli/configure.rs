//! `tandem configure` and `tandem migrate` as an operator uses them.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tandem_testkit::{Output, Setup, run, tandem};

fn call(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(tandem()).args(args).current_dir(folder.path()))
}

#[test]
fn values_come_from_the_directory() {
    let service = Setup::new().start();
    let target = json!({"host": "sip.debug.ostel.me", "port": 5061, "addresses": ["203.0.113.99", "2001:db8::7"]});
    assert_eq!(service.put_node("debug.ostel.me", &json!({"targets": [target]})).status, 201);
    let printed = service.tandem(["configure", "kamailio", "--domain", "debug.ostel.me", "--members-only"]).success();
    for line in [
        "# ==== /etc/kamailio/tls.cfg",
        "listen=tls:203.0.113.99:5061",
        "alias=\"debug.ostel.me\"",
        "modparam(\"enum\", \"domain_suffix\", \"e164.ostn.test.\")",
        "\t$du = \"sip:\" + $rd + \".peers.ostn.test;transport=tls\";",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    assert!(!printed.contains("203.0.113.7:"), "an example's address is left: {printed}");
    let beside = |server, how| service.tandem(["configure", server, "--domain", "debug.ostel.me", how]);
    let printed = beside("kamailio", "--agent").success();
    let (settings, modules) = (printed.find("dns_cache_max_ttl=1\n").unwrap(), printed.find("loadmodule ").unwrap());
    assert!(printed.find("dns_cache_negative_ttl=10").unwrap() < settings && settings < modules, "{printed}");
    // Kamailio runs both in tests/it/peer/agent.rs.
    let printed = beside("kamailio", "--agent=http").success();
    assert!(printed.contains("jansson.so") && !printed.contains("route[NUMBER]"), "{printed}");
    let printed = beside("kamailio", "--agent=redirect").success();
    let route = printed.find("route[FEDERATION] {").unwrap();
    assert!(
        printed.contains("dns_cache_max_ttl=1\n") && printed[route..].contains("failure_route[REDIRECTED]"),
        "{printed}"
    );
    assert_eq!(printed.matches("\nroute[FEDERATION]").count(), 1, "{printed}");
    let printed = beside("freeswitch", "--agent").success();
    assert!(printed.contains("/v1/freeswitch\" bindings=\"dialplan\"") && !printed.contains("mod_enum"), "{printed}");
    assert!(beside("freeswitch", "--agent=redirect").failure(1).contains("--agent=http"));
    assert!(beside("asterisk", "--agent").failure(1).contains("the agent's guide"));
    let unbound = service.tandem(["configure", "unbound"]).success();
    let port = service.dns_addr().port();
    assert!(unbound.contains(&format!("    stub-addr: 127.0.0.1@{port}\n")), "{unbound}");
    assert!(unbound.contains("    name: \"ostel.me.\"\n") && !unbound.contains("e164"), "{unbound}");
    let error = service.tandem(["configure", "freeswitch", "--domain", "nobody.ostel.me"]).failure(1);
    assert!(error.contains("--address"), "{error}");
}

/// Every server's pieces, without a service; and none has an example's value in it.
#[test]
fn every_server_has_pieces_of_its_own_values() {
    let zones = ["ostn.example", "e164.ostn.example", "peers.ostn.example", "policy.ostn.example"];
    for server in ["freeswitch", "kamailio", "asterisk", "opensips", "unbound", "bind"] {
        let mut args = vec!["configure", server, "--domain", "sip.example.org", "--address", "2001:db8::5"];
        args.extend(["--directory", "192.0.2.53"]);
        args.extend(zones.iter().flat_map(|zone| ["--zone", zone]));
        for more in [&[][..], &["--policy"]] {
            let output = call(&[&args[..], more].concat());
            if !more.is_empty() && !["unbound", "bind"].contains(&server) {
                assert!(output.failure(1).contains("--policy"));
                continue;
            }
            let text = output.success();
            for example in ["debug.ostel", "debug\\.ostel", "203.0.113.", "ostn.test"] {
                assert!(!text.contains(example), "{server}: {example} is left in\n{text}");
            }
        }
    }
    let error = call(&["configure", "asterisk"]).failure(1);
    assert!(error.contains("--domain"), "{error}");
    assert!(
        call(&["configure", "kamailio", "--domain", "a.example", "--address", "192.0.2.1"])
            .failure(1)
            .contains("--zone")
    );
}

#[test]
fn pieces_become_files_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("kamailio");
    let path = out.to_str().unwrap();
    let args = ["configure", "kamailio", "--domain", "a.example", "--address", "192.0.2.1", "--zone", "e164.example"];
    let args = [&args[..], &["--output", path]].concat();
    call(&args).success();
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["call.cfg", "modules.cfg", "routes.cfg", "settings.cfg", "tls.cfg"]);
    assert!(fs::read_to_string(out.join("settings.cfg")).unwrap().contains("\nlisten=tls:192.0.2.1:5061\n"));
    let error = call(&args).failure(1);
    assert!(error.contains("cannot make the folder"), "{error}");
}

/// Issue E 6: gateways of which one can go, and three that stay, each with its reason.
#[test]
fn gateways_of_a_freeswitch() {
    let service = Setup::new().start();
    let target = json!({"host": "sip.debug.ostel.me", "port": 5061, "addresses": ["203.0.113.99"]});
    assert_eq!(service.put_node("debug.ostel.me", &json!({"targets": [target]})).status, 201);
    let folder = tempfile::tempdir().unwrap();
    let gateway = |name: &str, proxy: &str, register: bool| {
        format!(
            "<gateway name=\"{name}\"><param name=\"proxy\" value=\"{proxy}\"/>\
             <param name=\"register\" value=\"{register}\"/></gateway>\n"
        )
    };
    let all = [
        gateway("debug", "debug.ostel.me:5061;transport=tls", false),
        gateway("absent", "absent.ostel.me", false),
        gateway("trunk", "debug.ostel.me", true),
        gateway("address", "192.0.2.9", false),
    ];
    fs::create_dir_all(folder.path().join("sip_profiles/external")).unwrap();
    fs::write(folder.path().join("sip_profiles/external/g.xml"), format!("<include>{}</include>", all.concat()))
        .unwrap();
    let action = "<action application=\"bridge\" data=\"sofia/gateway/debug/$1\"/>";
    fs::write(folder.path().join("dialplan.xml"), format!("<include>\n{action}</include>")).unwrap();
    let path = folder.path().to_str().unwrap();
    let server = service.dns_addr().to_string();
    let args = ["migrate", "freeswitch", path, "--server", &server, "--allow-private"];
    let text = service.tandem(args).success();
    assert!(text.contains("can go: debug.ostel.me is found by DNS, first at 203.0.113.99:5061 over TLS"), "{text}");
    assert!(text.contains("    write instead: sofia/external/$1@debug.ostel.me;transport=tls\n"), "{text}");
    assert!(text.ends_with("1 of 4 gateways can go.\n"), "{text}");
    let printed: Value = serde_json::from_str(&service.tandem([&args[..], &["--json"]].concat()).success()).unwrap();
    let gateways = printed["gateways"].as_array().unwrap();
    let told: Vec<_> = gateways.iter().map(|g| (g["name"].as_str().unwrap(), g["can_go"].as_bool().unwrap())).collect();
    assert_eq!(told, [("debug", true), ("absent", false), ("trunk", false), ("address", false)]);
    for (gateway, word) in gateways.iter().skip(1).zip(["publish", "registers", "address"]) {
        assert!(gateway["why"].as_str().unwrap().contains(word), "{gateway}");
    }
    assert!(call(&["migrate", "freeswitch", "no-such-folder"]).failure(1).contains("no-such-folder"));
}
