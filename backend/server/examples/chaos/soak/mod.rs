//! Half an hour of constant load, and a look at what grows.
//!
//! Two processes work on one database; so many stories are always under way, each some dozens of jobs, and beside them
//! documents are replaced and the repository is indexed anew. Every
//! half minute a sample of tables, memory and queue is written as a line of JSON, and the figures that they come to at the
//! end. Then nothing may be stuck, every invariant must hold, and over the last half nothing may have grown that should not:
//! see [`judge`].

mod judge;
mod sample;

use crate::{
    Failure,
    cells::{
        Postgres,
        site::{Begun, Ground, Place, Site},
    },
    figures::Figures,
    say,
};
use judge::{float, most};
use reqwest::Method;
use sample::Sample;
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// Stories under way at any time.
const STORIES: usize = 2;
/// Documents that are written again and again, so that their number does not grow.
const DOCUMENTS: u64 = 50;
/// Between two documents.
const PACE: Duration = Duration::from_millis(500);
/// Documents to one new index, which is a job.
const REINDEX_EVERY: u64 = 10;
/// Between two samples.
const EVERY: Duration = Duration::from_secs(30);
/// A story that is not done after this long is stuck.
const STORY_LIMIT: Duration = Duration::from_secs(120);
/// Access tokens last for a quarter of an hour.
const SIGN_IN_EVERY: Duration = Duration::from_secs(300);

/// Runs for so long, writes samples and figures to files in the folder, and judges.
pub(crate) async fn run(binary: &Path, dir: &Path, minutes: u32, out: &Path) -> Result<(), Failure> {
    let span = Duration::from_secs(u64::from(minutes) * 60);
    // The last sample may miss the end by a moment.
    let least = EVERY * (judge::FEWEST + 1);
    if span < least {
        return Err(format!("a verdict needs {} samples: at least {least:?}", judge::FEWEST).into());
    }
    let postgres = Postgres::start(dir).await?;
    let ground = Ground { binary, next: None, dir: dir.join("soak"), name: "soak", redis: None, seeds: 1 };
    let mut site = Site::open(postgres, ground).await?;
    "soak".clone_into(&mut site.label);
    fs::create_dir_all(out)?;
    let file = out.join("soak-samples.jsonl");
    say(&format!("soak: {minutes} minutes, samples go to {}", file.display()))?;
    let samples = match load(&mut site, span, File::create(file)?).await {
        Ok(samples) => samples,
        Err(failure) => return Err(format!("soak: {failure}\n{}", site.remains().await).into()),
    };
    site.finish().await?;
    site.check().await?;
    write_figures(&samples, minutes, &out.join("soak.jsonl"))?;
    judge::can_refuse(&samples)?;
    judge::judge(&samples)?;
    let done = samples.last().map_or(0, |last| last.stories_done);
    site.postgres.stop().await?;
    say(&format!(
        "soak: {done} stories in {minutes} minutes, nothing stuck, nothing grew that should not, all invariants hold"
    ))
}

/// What the samples come to: of what may grow, the most that the last half saw.
fn write_figures(samples: &[Sample], minutes: u32, out: &Path) -> Result<(), Failure> {
    const MIB: f64 = 1024.0 * 1024.0;
    let Some(last) = samples.last() else { return Ok(()) };
    let last_half = &samples[samples.len() / 2..];
    let settings = json!({
        "minutes": minutes, "samples": samples.len(), "stories_at_once": STORIES, "documents": DOCUMENTS,
        "processes": 2,
    });
    let took = Duration::from_secs(last.second).as_secs_f64() / 60.0;
    let mut figures = Figures::create(out)?;
    for (what, value, unit) in [
        ("stories", float(last.stories_done) / took, "per minute"),
        ("memory of both processes", most(last_half, &|sample| sample.rss_mib), "MiB"),
        ("memory of the database's own", most(last_half, &|sample| sample.postgres_mib), "MiB"),
        ("dead rows", most(last_half, &|sample| float(sample.dead())), "rows"),
        ("tables and indexes at the end", float(last.bytes()) / MIB, "MiB"),
        ("longest wait of a job that could run", most(samples, &|sample| sample.oldest_ready_seconds), "s"),
    ] {
        figures.add(&format!("soak, {what}"), (value, unit), None, &settings)?;
    }
    figures.finish()
}

/// Keeps the load up, and samples.
async fn load(site: &mut Site, span: Duration, mut out: File) -> Result<Vec<Sample>, Failure> {
    let begun = Instant::now();
    let (mut samples, mut under_way): (Vec<Sample>, Vec<(Instant, Begun)>) = (Vec::new(), Vec::new());
    let (mut signed_in, mut number, mut beats) = (begun, 0_u64, 0_u64);
    let mut conn = site.connect().await?;
    while begun.elapsed() < span {
        if signed_in.elapsed() > SIGN_IN_EVERY {
            site.sign_in().await?;
            signed_in = Instant::now();
        }
        still_under_way(site, &mut under_way).await?;
        while under_way.len() < STORIES {
            number += 1;
            site.begin(Place::Plain, &format!("Soak {number}")).await?;
            under_way.extend(site.begun.pop().map(|story| (Instant::now(), story)));
        }
        beats += 1;
        beside(site, beats).await?;
        if begun.elapsed() > EVERY * u32::try_from(samples.len() + 1)? {
            let sample = Sample::take(site, &mut conn, begun.elapsed()).await?;
            writeln!(out, "{}", serde_json::to_string(&sample)?)?;
            say(&sample.sentence())?;
            samples.push(sample);
        }
        tokio::time::sleep(PACE).await;
    }
    site.begun.extend(under_way.into_iter().map(|(_, story)| story));
    Ok(samples)
}

/// Leaves out what is done; whatever takes too long ends the soak.
async fn still_under_way(site: &Site, under_way: &mut Vec<(Instant, Begun)>) -> Result<(), Failure> {
    let api = site.api(Place::Plain)?;
    let mut left = Vec::new();
    for (since, begun) in under_way.drain(..) {
        let now = api.story(&begun.story.id).await?;
        match now.phase.as_str() {
            "done" => {}
            "blocked" | "cancelled" => {
                return Err(format!("story {} is {}: {}", now.number, now.phase, now.waiting_for).into());
            }
            _ if since.elapsed() > STORY_LIMIT => {
                return Err(format!("story {} is stuck: {}", now.number, now.waiting_for).into());
            }
            _ => left.push((since, begun)),
        }
    }
    *under_way = left;
    Ok(())
}

/// A document is replaced; now and then the repository is indexed anew.
async fn beside(site: &Site, beat: u64) -> Result<(), Failure> {
    let api = site.api(Place::Plain)?;
    let body = json!({ "content": format!("# Beat {beat}\n\nWritten at beat {beat} of the soak.\n") });
    let path = format!("/knowledge/documents/soak-{}.md", beat % DOCUMENTS);
    api.call(Method::PUT, &api.path(&path), Some(body)).await?;
    if beat.is_multiple_of(REINDEX_EVERY) {
        api.call(Method::POST, &api.path("/knowledge/reindex"), None).await?;
    }
    Ok(())
}
