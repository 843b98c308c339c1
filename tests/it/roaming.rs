//! A client whose address changes in the middle of a sentence: it is heard and hears on, and nobody notices.

use parlor::client::event::Event;
use parlor::client::voice::Transmit;
use parlor::net::limits::TALKSPURT_NEWS_INTERVAL;

use crate::support::talker::{Talker, finish, missing, server};

/// Packets of 200 ms.
const LOST_MAX: u32 = 20;

/// Neither the one who moved nor the other was told of anybody's coming or going, or of another way of voice.
fn nobody_noticed(news: &[Event]) {
    let noticed = news.iter().find(|event| {
        matches!(
            event,
            Event::Joined { .. }
                | Event::Left { .. }
                | Event::MemberJoined(_)
                | Event::MemberLeft { .. }
                | Event::Lost { .. }
                | Event::Welcome { .. }
                | Event::Path { .. }
        )
    });
    assert!(noticed.is_none(), "{noticed:?}");
}

/// Both in the room and proven; who is to speak does.
async fn pair(
    speaking: [bool; 2],
) -> (std::rc::Rc<parlor::actors::server::Server>, Talker, Talker) {
    let server = server().await;
    let mut anna = Talker::start(&server, "anna", false).await;
    let mut bert = Talker::start(&server, "bert", false).await;
    for (talker, speaks) in [(&mut anna, speaking[0]), (&mut bert, speaking[1])] {
        if !talker.told.iter().any(|event| matches!(event, Event::Path { .. })) {
            talker.wait_for(|event| matches!(event, Event::Path { .. })).await;
        }
        talker.voice.set_transmit(if speaks { Transmit::Open } else { Transmit::Shut });
    }
    if speaking[0] {
        bert.hear(50).await;
    }
    if speaking[1] {
        anna.hear(50).await;
    }
    anna.news();
    bert.news();
    (server, anna, bert)
}

/// Anna moves; how many packets each of the two misses around that.
async fn move_and_count(anna: &Talker, bert: &Talker, moves: impl Fn(&Talker)) -> [(u32, u32); 2] {
    let before = [anna.played().len(), bert.played().len()];
    let hears = [before[0] > 0, before[1] > 0];
    moves(anna);
    for (talker, hears) in [(anna, hears[0]), (bert, hears[1])] {
        if hears {
            talker.hear(100).await;
        }
    }
    [(anna, before[0]), (bert, before[1])].map(|(talker, before)| {
        let lost = missing(&talker.played()[before.saturating_sub(20)..]);
        println!("missing in all {} and at once {}", lost.0, lost.1);
        lost
    })
}

#[actix::test]
async fn a_nat_that_forgets_its_port_costs_less_than_200_ms_both_ways() {
    let (server, mut anna, mut bert) = pair([true, true]).await;
    let lost = move_and_count(&anna, &bert, |anna| anna.wire.change_port()).await;
    assert!(lost.iter().all(|(all, _)| *all < LOST_MAX), "{lost:?}");
    nobody_noticed(&anna.news());
    nobody_noticed(&bert.news());
    finish(server, vec![anna, bert]).await;
}

#[actix::test]
async fn another_address_costs_less_than_200_ms_both_ways() {
    let (server, mut anna, mut bert) = pair([true, true]).await;
    let lost = move_and_count(&anna, &bert, |anna| anna.wire.change_address(2)).await;
    assert!(lost.iter().all(|(all, _)| *all < LOST_MAX), "{lost:?}");
    nobody_noticed(&anna.news());
    nobody_noticed(&bert.news());
    finish(server, vec![anna, bert]).await;
}

#[actix::test]
async fn a_listener_who_says_nothing_is_found_at_his_new_address_within_200_ms() {
    let (server, mut anna, mut bert) = pair([false, true]).await;
    // Between two reports he sends nothing at all: it counts when in between he moves.
    for host in 3..6 {
        let lost = move_and_count(&anna, &bert, |anna| anna.wire.change_address(host)).await;
        assert!(lost[0].0 < LOST_MAX, "{lost:?}");
    }
    nobody_noticed(&anna.news());
    nobody_noticed(&bert.news());
    finish(server, vec![anna, bert]).await;
}

#[actix::test]
async fn a_listener_who_moved_in_silence_misses_less_than_200_ms_of_the_next_word() {
    let (server, anna, bert) = pair([false, true]).await;
    let mut carl = Talker::start(&server, "carl", false).await;
    carl.wait_for(|event| matches!(event, Event::Path { .. })).await;
    carl.hear(10).await;
    bert.voice.set_transmit(Transmit::Shut);
    carl.wait_for(|event| matches!(event, Event::Speaking { on: false, .. })).await;
    // A talkspurt that follows at once is told of later: a bound of its own.
    tokio::time::sleep(TALKSPURT_NEWS_INTERVAL).await;
    let marks = [anna.played().len(), carl.played().len()];
    anna.wire.change_port();
    bert.voice.set_transmit(Transmit::Open);
    anna.hear(50).await;
    carl.hear(50).await;
    // Carl has not moved: what he heard first is where the word began.
    let [first, began] = [(&anna, marks[0]), (&carl, marks[1])].map(|(t, mark)| t.played()[mark].1);
    let lost = first.wrapping_sub(began) / 320;
    println!("{lost} packets of the first word missing");
    assert!(lost < LOST_MAX, "{lost}");
    finish(server, vec![anna, bert, carl]).await;
}
