//! A stolen device deletes, forgets, releases and floods: everything of the month comes back.

use carryall_sim::{Mistake, Rampage, rampage};

const STOLEN: Rampage = Rampage {
    seed: 1,
    days: 12,
    flood: 300,
    mistake: None,
};

#[test]
fn whatever_a_stolen_device_does_for_weeks_all_of_the_month_comes_back() {
    assert_eq!(rampage(STOLEN), Ok(12));
}

#[test]
fn what_a_stolen_device_does_at_once_comes_back() {
    let at_once = Rampage {
        seed: 2,
        days: 1,
        flood: 4000,
        mistake: None,
    };
    assert_eq!(rampage(at_once), Ok(12));
}

#[test]
fn friends_who_erase_at_once_lose_it() {
    let mistake = Some(Mistake::EraseAtOnce);
    let short = Rampage {
        days: 2,
        mistake,
        ..STOLEN
    };
    let lost = rampage(short).unwrap_err();
    assert!(lost.contains("is gone from the shelf"), "{lost}");
}
