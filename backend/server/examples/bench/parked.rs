//! Runs that wait for a human: what a great many of them cost a process that has nothing else to do, and how soon one
//! of them goes on when its human answers.
//!
//! One story is really brought to its first question. Then its rows are copied by SQL, as they are, under other ids:
//! nobody waits for a million scripted stories, and what is measured must have the product's own shape.

use crate::{
    Failure,
    figures::{Figures, cpu_seconds_of, percentile},
    process::{self, Home, Model, Server, User},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long an idle process is looked at: every sweep comes by several times, autovacuum's look around once.
const IDLE: Duration = Duration::from_secs(60);
/// What a start leaves to be done is over by then.
const SETTLED: Duration = Duration::from_secs(20);
/// Parked runs that are woken, one after the other.
const WOKEN: u32 = 20;
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nor does sealing the events of all copies.
const SEALED: Duration = Duration::from_secs(1_800);
/// Copies of one statement.
const BATCH: u32 = 20_000;
/// Stands for the first eight digits of each id that a copy has for itself.
const OWN: &str = "@@@@@@@@";

/// What parking leaves behind, and which rows of it are those of the parked run `p`. Left out is what nobody looks for
/// while a run is parked, and what would not fit on a disk a million times: brief, steps and usage, which are read by
/// their run; and audit entries, which are read by their chain. The runs that are woken have theirs.
const LEFT: [(&str, &str); 6] = [
    ("story", "t.id = p.story"),
    ("run", "t.id = p.run"),
    ("approval", "t.id = p.approval"),
    ("agent", "t.id = p.agent"),
    ("timer", "t.stream = p.approval"),
    ("event", "t.stream_id in (p.story, p.run, p.approval)"),
];

/// A run that waits for its human.
struct Parked {
    story: Uuid,
    run: Uuid,
    approval: Uuid,
}

/// Takes the figures, with nothing there and with so many parked runs.
pub(crate) async fn runs(
    binary: &Path,
    dir: &Path,
    count: u32,
    figures: &mut Figures,
) -> Result<(), Failure> {
    process::open_to_others(dir)?;
    let model = Model::start(binary, dir)?;
    let home = Home { models: Some(model.groups()), ..Home::of(dir) };
    process::stop(process::start(binary, home).await?)?;
    let server = process::start(binary, home).await?;
    started(&server, 0, figures)?;
    idle(&server, dir, 0, figures).await?;

    let user = process::register(&server.address).await?;
    user.repository_is_ready().await?;
    process::spawn_agents(&user, "architect", WOKEN).await?;
    let mut conn = connect(dir).await?;
    let mut parked = Vec::new();
    for _ in 0..WOKEN {
        parked.push(park(&user, &mut conn).await?);
    }
    let template = parked.first().ok_or("nothing is parked")?;
    fill(&mut conn, template, count.saturating_sub(WOKEN)).await?;
    let there: i64 =
        sqlx::query_scalar("select count(*) from run where phase = 'waiting'").fetch_one(&mut conn).await?;
    let bytes: i64 =
        sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&mut conn).await?;
    conn.close().await?;
    process::stop(server)?;

    let server = process::start(binary, home).await?;
    let there = u32::try_from(there)?;
    started(&server, there, figures)?;
    sealed(dir).await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let gib = bytes as f64 / f64::from(1 << 30);
    figures.add("parked runs, database", (gib, "GiB"), None, &settings(there))?;
    idle(&server, dir, there, figures).await?;
    woken(&user.at(&server.address).await?, dir, &parked, there, figures).await?;
    process::stop(server)
}

fn settings(parked: u32) -> serde_json::Value {
    json!({ "parked_runs": parked, "projects": 1, "idle_s": IDLE.as_secs() })
}

fn started(server: &Server, parked: u32, figures: &mut Figures) -> Result<(), Failure> {
    figures.add("parked runs, start-up", (server.took.as_secs_f64(), "s"), None, &settings(parked))?;
    let memory = process::resident_mib(server.child.id())?;
    figures.add("parked runs, memory of serve", (memory, "MiB"), None, &settings(parked))
}

/// Waits until the audit chain has all events of the copies: nobody has so many at once, and sealing them is not idling.
async fn sealed(dir: &Path) -> Result<(), Failure> {
    let mut conn = connect(dir).await?;
    let behind = "select coalesce(sum(l.head - h.event_seq), 0)::bigint from project_log l join audit_head h on h.chain = l.project_id";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(behind).fetch_one(&mut conn).await? > 0 {
        if begun.elapsed() > SEALED {
            return Err("the events of the copies are not sealed in time".into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(conn.close().await?)
}

/// The share of one core that `serve` and all processes of its PostgreSQL take while nobody asks for anything.
async fn idle(server: &Server, dir: &Path, parked: u32, figures: &mut Figures) -> Result<(), Failure> {
    let (serve, postmaster) = (server.child.id(), postmaster(dir)?);
    tokio::time::sleep(SETTLED).await;
    let before = (cpu_seconds_of(&[serve], None), cpu_seconds_of(&[], Some(postmaster)), Instant::now());
    tokio::time::sleep(IDLE).await;
    let wall = before.2.elapsed().as_secs_f64();
    let share = |now: f64, then: f64| (now - then) / wall * 100.0;
    let own = share(cpu_seconds_of(&[serve], None), before.0);
    let database = share(cpu_seconds_of(&[], Some(postmaster)), before.1);
    let settings = settings(parked);
    figures.add("parked runs, idle CPU", (own + database, "% of a core"), None, &settings)?;
    figures.add("parked runs, idle CPU of serve", (own, "% of a core"), None, &settings)?;
    figures.add("parked runs, idle CPU of PostgreSQL", (database, "% of a core"), None, &settings)
}

fn postmaster(dir: &Path) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(dir.join("postgres/pgdata/postmaster.pid"))?;
    Ok(text.lines().next().ok_or("the pid file is empty")?.trim().parse()?)
}

async fn connect(dir: &Path) -> Result<PgConnection, Failure> {
    let url = std::fs::read_to_string(dir.join("database-url"))?;
    Ok(PgConnection::connect(url.trim()).await?)
}

/// Starts a story whose analyst offers requirements: the project's policy has a human decide on them.
async fn park(user: &User, conn: &mut PgConnection) -> Result<Parked, Failure> {
    let body = json!({ "title": "Wait for somebody", "description": "As a client I want to be asked." });
    let story = user.send(&user.path("/stories"), Some(body)).await?;
    let story: Uuid = story["id"].as_str().ok_or("no story")?.parse()?;
    user.send(&user.path(&format!("/stories/{story}/start")), Some(json!({}))).await?;
    let begun = Instant::now();
    loop {
        let found: Option<(Uuid, Uuid)> = sqlx::query_as(
            "select r.id, a.id from run r
               join approval a on a.phase = 'pending' and a.id = (r.state #>> '{phase,wait,approval}')::uuid
              where r.story_id = $1 and r.phase = 'waiting'",
        )
        .bind(story)
        .fetch_optional(&mut *conn)
        .await?;
        if let Some((run, approval)) = found {
            return Ok(Parked { story, run, approval });
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("story {story} asks nothing").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Copies the parked run so many times, in the project that it is in: its log stays dense.
async fn fill(conn: &mut PgConnection, template: &Parked, copies: u32) -> Result<(), Failure> {
    let tables = "create temp table parked (story uuid, run uuid, approval uuid, agent uuid, project uuid, head bigint);
                  create temp table template (source text, number bigint, body text)";
    sqlx::raw_sql(tables).execute(&mut *conn).await?;
    sqlx::query(
        "insert into parked select $1, $2, $3, a.id, l.project_id, l.head
           from agent a join project_log l using (project_id) where a.current_run_id = $2",
    )
    .bind(template.story)
    .bind(template.run)
    .bind(template.approval)
    .execute(&mut *conn)
    .await?;
    for (table, rows) in LEFT {
        take_template(conn, table, rows).await?;
        copy(conn, table, copies).await?;
    }
    // What is left is what a system has that has been up for a while.
    let head = "update project_log set head = (select max(seq) from event where project_id = project_log.project_id)";
    for sql in [head, "vacuum (analyze, freeze)"] {
        sqlx::raw_sql(sql).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Keeps the rows as text in which every id that a copy has for itself is open.
async fn take_template(conn: &mut PgConnection, table: &str, rows: &str) -> Result<(), Failure> {
    let open = |id: &str| format!("'{OWN}' || substr({id}::text, 9)");
    let own = match table {
        "event" => format!("jsonb_build_object('id', {})", open("t.id")),
        "agent" => format!("jsonb_build_object('name', 'Parked {OWN}')"),
        _ => "'{}'::jsonb".to_owned(),
    };
    let opened = ["story", "run", "approval", "agent"]
        .map(|column| format!("p.{column}"))
        .iter()
        .fold(format!("(to_jsonb(t) || {own})::text"), |body, id| {
            format!("replace({body}, {id}::text, {})", open(id))
        });
    let sql = format!(
        "insert into template select '{table}', row_number() over (), {opened} from {table} t, parked p where {rows}"
    );
    match sqlx::query(AssertSqlSafe(sql)).execute(conn).await?.rows_affected() {
        0 => Err(format!("parking left nothing in {table}").into()),
        _ => Ok(()),
    }
}

/// Inserts the copies of one table; an event gets the next number of the project's log.
async fn copy(conn: &mut PgConnection, table: &str, copies: u32) -> Result<(), Failure> {
    let columns: String = sqlx::query_scalar(
        "select string_agg(column_name, ', ' order by ordinal_position) from information_schema.columns
          where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER'",
    )
    .bind(table)
    .fetch_one(&mut *conn)
    .await?;
    let number = match table {
        "event" => "jsonb_build_object('seq', p.head + (n - 1) * every.rows + t.number)",
        _ => "'{}'::jsonb",
    };
    let body = format!("replace(t.body, '{OWN}', lpad(to_hex(n), 8, '0'))::jsonb || {number}");
    let sql = format!(
        "insert into {table} ({columns}) select {columns} from (
            select copied.* from parked p, template t, generate_series($1::bigint, $2::bigint) n,
                   (select count(*) as rows from template where source = '{table}') every,
                   lateral jsonb_populate_record(null::{table}, {body}) copied
             where t.source = '{table}' order by n, t.number
         ) copies"
    );
    let mut first = 1;
    while first <= copies {
        let last = copies.min(first + BATCH - 1);
        let statement = sqlx::query(AssertSqlSafe(sql.clone()));
        statement.bind(i64::from(first)).bind(i64::from(last)).execute(&mut *conn).await?;
        first = last + 1;
    }
    Ok(())
}

/// From sending the decision until the next step of its story's work has begun.
async fn woken(
    user: &User,
    dir: &Path,
    parked: &[Parked],
    there: u32,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut conn = connect(dir).await?;
    let mut samples = Vec::new();
    for parked in parked {
        let path = user.path(&format!("/approvals/{}", parked.approval));
        let asked = user.send(&path, None).await?;
        let body = json!({ "outcome": "approved", "digest": asked["digest"], "note": "Go on." });
        let begun = Instant::now();
        user.send(&format!("{path}/decision"), Some(body)).await?;
        while !goes_on(&mut conn, parked).await? {
            if begun.elapsed() > PATIENCE {
                return Err(format!("story {} does not go on", parked.story).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        samples.push(begun.elapsed());
    }
    samples.sort_unstable();
    let settings = settings(there);
    figures.add(
        "parked runs, answer to next step, median",
        (percentile(&samples, 0.5), "ms"),
        None,
        &settings,
    )?;
    figures.add(
        "parked runs, answer to next step, slowest",
        (percentile(&samples, 1.0), "ms"),
        None,
        &settings,
    )
}

async fn goes_on(conn: &mut PgConnection, parked: &Parked) -> Result<bool, Failure> {
    let begun = "select exists (select from run r join step s on s.run_id = r.id
                                 where r.story_id = $1 and r.id <> $2)";
    Ok(sqlx::query_scalar(begun).bind(parked.story).bind(parked.run).fetch_one(conn).await?)
}
