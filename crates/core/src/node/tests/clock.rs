//! Devices whose clocks differ.

use super::*;
use crate::{
    beacon::{EPOCH_SECS, EPOCHS_AROUND, EPOCHS_AROUND_RESCUE},
    gate::epoch,
};

const EPOCH: Span = Span::secs(EPOCH_SECS);

#[test]
fn a_clock_is_trusted_for_days_after_a_friend_with_the_same_time_was_heard() {
    let (mut world, devices) = World::circle(2);
    let (now, friend) = (world.now, devices[1]);
    let node = &mut world.host(devices[0]).node;
    assert_eq!(node.epochs_around(now), EPOCHS_AROUND_RESCUE);
    for (device, epochs, around) in [
        (friend, 5, EPOCHS_AROUND_RESCUE),
        (DeviceId([9; 32]), 0, EPOCHS_AROUND_RESCUE),
        (friend, -1, EPOCHS_AROUND),
        (friend, 5, EPOCHS_AROUND),
    ] {
        node.handle_event(now, Event::Skewed { device, epochs });
        assert_eq!(node.epochs_around(now), around);
    }
    assert_eq!(node.epochs_around(now + Span::days(3)), EPOCHS_AROUND);
    let later = now + Span::days(4);
    assert_eq!(node.epochs_around(later), EPOCHS_AROUND_RESCUE);
}

#[test]
fn a_friend_is_called_by_its_own_time_and_may_call_by_it() {
    let (mut world, devices) = World::circle(3);
    let now = world.now;
    let node = &mut world.host(devices[0]).node;
    for (device, epochs) in [(devices[1], -20), (devices[2], 1)] {
        node.handle_event(now, Event::Skewed { device, epochs });
    }
    let there = node.time_at(devices[1], now);
    assert_eq!(now.since(there), Span(EPOCH.0 * 20));
    assert_eq!(epoch(node.time_at(devices[2], now)), epoch(now) + 1);
    assert_eq!(node.time_at(DeviceId([9; 32]), now), now);
    assert_eq!(node.gate_times(now), [now, there]);
    // Whoever is gone is not waited for.
    let later = now + Span::hours(1);
    node.handle_timeout(later);
    assert_eq!(node.gate_times(later), [later]);
}

#[test]
fn a_crowd_of_wrong_clocks_opens_few_gates() {
    let (mut world, me, others) = super::reach::crowd(40);
    let now = world.now + Span::hours(1);
    let node = &mut world.host(me).node;
    for (at, device) in (2..).zip(&others) {
        let (device, epochs) = (*device, i32::from(at));
        node.handle_event(now, super::reach::near(device, [9; 4], at));
        node.handle_event(now, Event::Skewed { device, epochs });
    }
    assert_eq!(node.gate_times(now).len(), 1 + limits::SKEWS_MAX);
}
