//! Orders of a day as one CSV file, by a seed.

use std::fmt::Write;

use chrono::NaiveDate;

use crate::chance::Chance;

const COUNTRIES: [&str; 6] = ["DE", "FR", "US", "JP", "BR", ""];

/// The CSV of one day's orders, with a header. Order numbers go on from `first`.
pub fn day(seed: u64, date: NaiveDate, first: u64, orders: u64) -> String {
    let mut chance = Chance::new(seed);
    let mut text = String::from("order_id,customer_id,amount,country,ingestion_date\n");
    for number in first..first.saturating_add(orders) {
        let cents = 100 + chance.below(500_000);
        let place = usize::try_from(chance.below(COUNTRIES.len() as u64)).unwrap_or(0);
        let (customer, country) = (101 + chance.below(40), COUNTRIES[place]);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "ORD-{number:03},CUST-{customer},{}.{:02},{country},{date}",
            cents / 100,
            cents % 100
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `UPDATE_SAMPLES=1 cargo test -p berglake-example-producer` writes them anew.
    #[test]
    fn the_committed_days_are_those_of_their_seeds() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sales/data");
        for (seed, (day_of_month, first, orders)) in
            (1..).zip([(15, 1, 40), (16, 41, 35), (17, 76, 45)])
        {
            let date = NaiveDate::from_ymd_opt(2024, 1, day_of_month).unwrap();
            let path = data.join(format!("sales_{date}.csv"));
            let made = day(seed, date, first, orders);
            if std::env::var_os("UPDATE_SAMPLES").is_some() {
                std::fs::create_dir_all(&data).unwrap();
                std::fs::write(&path, &made).unwrap();
            }
            assert!(
                std::fs::read_to_string(&path).unwrap() == made,
                "{}",
                path.display()
            );
        }
    }
}
