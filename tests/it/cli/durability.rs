//! `kill -9` while nodes are being published over HTTP: nothing that was acknowledged is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tandem_testkit::Service;

use super::{dig, node};

/// How often the service is killed here; the store's own test does it more often.
const KILLS: usize = 5;
/// Clients that publish at the same time.
const WRITERS: usize = 4;
/// Acknowledged publishes after which the kill comes.
const BEFORE_KILL: usize = 25;

#[test]
fn acknowledged_publishes_survive_kill_9() {
    let mut service = Service::start();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..KILLS {
        acknowledged.extend(publish_until_killed(&mut service, round));
        service = service.restart();
        for domain in &acknowledged {
            let answer = service.get(&format!("/v1/nodes/{domain}"));
            assert_eq!(answer.status, 200, "{domain} was acknowledged: {}", answer.text);
        }
        let last = acknowledged.last().unwrap();
        let srv = dig(&service, &["SRV", &format!("_sips._tcp.{last}"), "+short"]);
        assert_eq!(srv, format!("10 0 5061 sip.{last}.\n"));
    }
    assert!(acknowledged.len() >= KILLS * BEFORE_KILL);
}

fn publish_until_killed(service: &mut Service, round: usize) -> Vec<String> {
    let count = AtomicUsize::new(0);
    let client = service.client();
    thread::scope(|scope| {
        let writer = |writer: usize| {
            let (client, count) = (&client, &count);
            move || {
                let mut done = Vec::new();
                for index in 0.. {
                    let domain = format!("n{round}-{writer}-{index}.ostn.test");
                    match client.try_send("PUT", &format!("/v1/nodes/{domain}"), &[], Some(&node(&domain, "192.0.2.7")))
                    {
                        Ok(answer) if answer.status == 201 => {
                            done.push(domain);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => panic!("{domain}: {} {}", answer.status, answer.text),
                        Err(_) => break,
                    }
                }
                done
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|index| scope.spawn(writer(index))).collect();
        tandem_testkit::wait_until(std::time::Duration::from_secs(60), "publishes", || {
            count.load(Ordering::Relaxed) >= BEFORE_KILL
        });
        service.kill();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}
