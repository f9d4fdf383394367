//! When a recurring job is due: pure, from a schedule and two points in time.
//!
//! A cron expression is read in its time zone, as a clock on the wall there shows it. Where the clock is put forward, a
//! time of day that does not exist comes right after the gap; where it is put back, one that exists twice comes the
//! first time only. Expressions with a `*` or a step in the hours or minutes follow the time that passes instead.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// Shortest period.
const SHORTEST: Duration = Duration::from_secs(1);

/// When something comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At a time, and whole periods after it.
    Every {
        /// The first time, and what all others are counted from; at most a period ahead: see [`crate::set_right`].
        anchor: DateTime<Utc>,
        /// At least a second.
        period: Duration,
    },
    /// At the times that fit an expression.
    Cron {
        /// Minute, hour, day of the month, month, day of the week; before them a second, if there are six.
        expression: String,
        /// Name of the time zone in which it is read, as `Europe/Berlin`.
        zone: String,
    },
}

/// What becomes of ticks that nobody fired in time, because no worker was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are dropped: a tick that is more than a minute late, or has a later one behind it, makes no job.
    Skip,
    /// All of them together make one job, for the latest.
    #[default]
    RunOnce,
    /// Each makes a job, the latest ones if there are too many. A unique key of the job would swallow all but one.
    CatchUp {
        /// Most jobs made at once, at most 500.
        at_most: u16,
    },
}

/// A tick that is later than this was missed, for those that skip.
const PUNCTUAL: TimeDelta = TimeDelta::minutes(1);

/// Most ticks made up for at once: bounds the statement that writes their jobs.
const MAX_CATCH_UP: u16 = 500;

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The period is shorter than a second, or longer than any calendar.
    #[error("a period of {0:?} is not from a second to a century")]
    Period(Duration),
    /// The expression does not read.
    #[error("{expression:?} is not a cron expression")]
    Expression {
        /// What was given.
        expression: String,
        /// What is wrong with it.
        source: croner::errors::CronError,
    },
    /// No such time zone is known.
    #[error("{0:?} is not the name of a time zone")]
    Zone(String),
    /// No time fits it any more.
    #[error("the schedule has no tick after {0}")]
    Never(DateTime<Utc>),
}

/// A schedule that was read and found good.
#[derive(Clone, Debug)]
pub(crate) enum Calendar {
    Every { anchor: DateTime<Utc>, period: TimeDelta },
    Cron { cron: Box<Cron>, zone: Tz },
}

impl TryFrom<&Schedule> for Calendar {
    type Error = ScheduleError;

    fn try_from(schedule: &Schedule) -> Result<Self, ScheduleError> {
        match schedule {
            Schedule::Every { anchor, period } => {
                let century = TimeDelta::days(36_525);
                let good = TimeDelta::from_std(*period).ok().filter(|delta| *delta <= century);
                let delta = good.filter(|_| *period >= SHORTEST).ok_or(ScheduleError::Period(*period))?;
                Ok(Self::Every { anchor: *anchor, period: delta })
            }
            Schedule::Cron { expression, zone } => {
                let cron = Cron::from_str(expression)
                    .map_err(|source| ScheduleError::Expression { expression: expression.clone(), source })?;
                let zone = zone.parse().map_err(|_| ScheduleError::Zone(zone.clone()))?;
                Ok(Self::Cron { cron: Box::new(cron), zone })
            }
        }
    }
}

impl Calendar {
    /// The first tick after `time`.
    pub(crate) fn after(&self, time: DateTime<Utc>) -> Result<DateTime<Utc>, ScheduleError> {
        match self {
            Self::Every { anchor, .. } if time < *anchor => Ok(*anchor),
            Self::Every { period, .. } => {
                let next = self.upto(time).and_then(|last| last.checked_add_signed(*period));
                next.ok_or(ScheduleError::Never(time))
            }
            Self::Cron { cron, zone } => cron
                .find_next_occurrence(&time.with_timezone(zone), false)
                .map(|next| next.to_utc())
                .map_err(|_| ScheduleError::Never(time)),
        }
    }

    /// The last tick that is not after `time`.
    fn upto(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every { anchor, period } => {
                let passed = (time - *anchor).num_microseconds().filter(|passed| *passed >= 0)?;
                let over = passed.checked_rem(period.num_microseconds()?)?;
                time.checked_sub_signed(TimeDelta::microseconds(over))
            }
            Self::Cron { cron, zone } => {
                let last = cron.find_previous_occurrence(&time.with_timezone(zone), true).ok()?;
                Some(last.to_utc())
            }
        }
    }

    /// The ticks after `since` and up to `now` that make a job, in their order. Costs one step for each of them, however
    /// many were missed.
    pub(crate) fn due(&self, since: DateTime<Utc>, now: DateTime<Utc>, missed: Missed) -> Vec<DateTime<Utc>> {
        let mut ticks = Vec::new();
        let mut upto = Some(now);
        while ticks.len() < missed.at_most() {
            let Some(tick) = upto.and_then(|upto| self.upto(upto)).filter(|tick| *tick > since) else {
                break;
            };
            ticks.push(tick);
            upto = tick.checked_sub_signed(TimeDelta::microseconds(1));
        }
        if missed == Missed::Skip {
            ticks.retain(|tick| now - *tick <= PUNCTUAL);
        }
        ticks.reverse();
        ticks
    }
}

impl Missed {
    fn at_most(self) -> usize {
        match self {
            Self::Skip | Self::RunOnce => 1,
            Self::CatchUp { at_most } => usize::from(at_most.clamp(1, MAX_CATCH_UP)),
        }
    }

    pub(crate) fn stored(self) -> i16 {
        match self {
            Self::Skip => 0,
            other => i16::try_from(other.at_most()).unwrap_or(i16::MAX),
        }
    }

    pub(crate) fn of_stored(count: i16) -> Self {
        match u16::try_from(count).unwrap_or(0) {
            0 => Self::Skip,
            1 => Self::RunOnce,
            at_most => Self::CatchUp { at_most },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn cron(expression: &str, zone: &str) -> Calendar {
        let schedule = Schedule::Cron { expression: expression.into(), zone: zone.into() };
        Calendar::try_from(&schedule).unwrap()
    }

    /// The next ticks in UTC, as month-day hour:minute.
    fn next(calendar: &Calendar, mut time: DateTime<Utc>, count: usize) -> Vec<String> {
        let mut ticks = Vec::new();
        for _ in 0..count {
            time = calendar.after(time).unwrap();
            ticks.push(time.format("%m-%d %H:%M").to_string());
        }
        ticks
    }

    #[test]
    fn a_time_of_day_that_the_gap_swallows_comes_right_after_it_and_keeps_its_place_after_that() {
        let half_past_two = cron("30 2 * * *", "Europe/Berlin");
        let days = next(&half_past_two, at("2027-03-26T12:00:00Z"), 3);
        assert_eq!(days, ["03-27 01:30", "03-28 01:00", "03-29 00:30"]);
    }

    #[test]
    fn a_time_of_day_that_comes_twice_ticks_the_first_time_only() {
        let half_past_two = cron("30 2 * * *", "Europe/Berlin");
        let days = next(&half_past_two, at("2027-10-30T12:00:00Z"), 2);
        assert_eq!(days, ["10-31 00:30", "11-01 01:30"]);
    }

    #[test]
    fn an_hourly_tick_follows_the_time_that_passes_through_gap_and_overlap() {
        let hourly = cron("0 * * * *", "America/New_York");
        let gap = next(&hourly, at("2027-03-14T05:30:00Z"), 3);
        assert_eq!(gap, ["03-14 06:00", "03-14 07:00", "03-14 08:00"]);
        let overlap = next(&hourly, at("2027-11-07T04:30:00Z"), 4);
        assert_eq!(overlap, ["11-07 05:00", "11-07 06:00", "11-07 07:00", "11-07 08:00"]);
    }

    #[test]
    fn missed_ticks_are_dropped_joined_or_made_up_for() {
        let hourly = cron("0 * * * *", "UTC");
        let (since, now) = (at("2027-01-01T00:00:00Z"), at("2027-01-01T05:10:00Z"));
        let hour = |hour: u32| at(&format!("2027-01-01T{hour:02}:00:00Z"));
        assert!(hourly.due(since, now, Missed::Skip).is_empty());
        assert_eq!(hourly.due(since, at("2027-01-01T05:00:50Z"), Missed::Skip), [hour(5)]);
        assert_eq!(hourly.due(since, now, Missed::RunOnce), [hour(5)]);
        assert_eq!(hourly.due(since, now, Missed::CatchUp { at_most: 3 }), [hour(3), hour(4), hour(5)]);
        assert_eq!(hourly.due(since, now, Missed::CatchUp { at_most: 99 }).len(), 5);
        assert!(hourly.due(hour(5), now, Missed::CatchUp { at_most: 99 }).is_empty());
    }

    #[test]
    fn a_century_of_missed_seconds_costs_no_more_than_what_is_made_up_for() {
        let schedule = Schedule::Every { anchor: at("1950-01-01T00:00:00Z"), period: Duration::from_secs(1) };
        let every_second = Calendar::try_from(&schedule).unwrap();
        let due = every_second.due(
            DateTime::UNIX_EPOCH,
            at("2060-01-01T00:00:00Z"),
            Missed::CatchUp { at_most: 2 },
        );
        assert_eq!(due, [at("2059-12-31T23:59:59Z"), at("2060-01-01T00:00:00Z")]);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let read = |schedule| Calendar::try_from(&schedule).unwrap_err();
        let cron = |expression: &str, zone: &str| Schedule::Cron {
            expression: expression.into(),
            zone: zone.into(),
        };
        assert!(matches!(read(cron("61 * * * *", "UTC")), ScheduleError::Expression { .. }));
        assert!(matches!(read(cron("* * * * *", "Mars/Olympus")), ScheduleError::Zone(_)));
        let every = |period| Schedule::Every { anchor: DateTime::UNIX_EPOCH, period };
        assert!(matches!(read(every(Duration::from_millis(999))), ScheduleError::Period(_)));
        assert!(matches!(read(every(Duration::MAX)), ScheduleError::Period(_)));
        let never = Calendar::try_from(&cron("0 0 30 2 *", "UTC")).unwrap();
        assert!(matches!(never.after(DateTime::UNIX_EPOCH), Err(ScheduleError::Never(_))));
    }

    proptest! {
        /// Looking back finds what looking ahead found: no tick is lost or invented around a change of the clock.
        #[test]
        fn ticks_are_the_same_in_both_directions(
            expression in prop::sample::select(vec!["30 2 * * *", "0 2 * * SUN", "*/17 * * * *", "0 */3 * * *", "15 1,2,3 * * *"]),
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            hours in 0i64..24 * 366,
        ) {
            let calendar = cron(expression, zone);
            let since = at("2027-01-01T00:00:00Z") + TimeDelta::hours(hours);
            let now = since + TimeDelta::hours(50);
            let mut ahead = Vec::new();
            let mut time = since;
            while let Ok(tick) = calendar.after(time) {
                if tick > now {
                    break;
                }
                ahead.push(tick);
                time = tick;
            }
            prop_assert_eq!(calendar.due(since, now, Missed::CatchUp { at_most: 500 }), ahead);
        }
    }
}
