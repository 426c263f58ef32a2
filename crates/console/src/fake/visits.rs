//! Visits that are made up.

use crate::visits::{VisitDay, VisitReport, VisitedPage, Visits};
use async_trait::async_trait;
use model::Report;

#[derive(Default)]
pub struct FakeVisits;

#[async_trait]
impl Visits for FakeVisits {
    async fn report(&self, days: u32) -> Result<VisitReport, Report> {
        let day = |number: u64| VisitDay {
            date: format!("2026-11-{:02}", 23 - number.min(22)),
            visitors: 40 + number * 37 % 100,
            requests: 900 + number * 13,
            pages: 300 + number * 7,
            files: 500,
            calls: 80,
            refused: 12,
            failed: number % 3,
            bytes: 12_400_000,
            bots: 4,
            bot_requests: 120,
            ..VisitDay::default()
        };
        let page = |name: &str, views, mean_us, in_time| VisitedPage {
            name: format!("shop.example{name}"),
            views,
            mean_us,
            slowest_us: mean_us * 9,
            in_time,
            ..VisitedPage::default()
        };
        Ok(VisitReport {
            now: 12,
            now_minutes: 5,
            days: (0..u64::from(days)).rev().map(day).collect(),
            pages: vec![
                page("/", 1_204, 12_300, 1_204),
                page("/shop", 820, 48_000, 818),
                page("/shop/cart", 310, 390_000, 240),
                page("/about", 44, 9_000, 44),
            ],
            other_views: 17,
        })
    }
}
