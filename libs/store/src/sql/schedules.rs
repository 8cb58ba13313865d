//! [`ScheduleStore`].

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _, Queryable,
    Selectable, SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{TenantId, time::now_micros};

use super::{
    Connection, Store, dialect,
    rows::{JobRow, NewJobRow},
    schema::{job_schedules, job_schedules::dsl as s, processing_jobs::dsl as j},
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{Job, JobKind},
    schedule::{CatchUp, Due, NewSchedule, Schedule, ScheduleStore, is_ahead},
};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = job_schedules)]
struct ScheduleRow {
    tenant_id: Id,
    name: String,
    kind: i16,
    cron: String,
    time_zone: String,
    catch_up: i16,
    max_catch_up: i32,
    enabled: bool,
    last_tick: i64,
    last_job_id: Option<Id>,
    create_time: i64,
}

impl ScheduleRow {
    fn new(new: NewSchedule, now: i64) -> Self {
        Self {
            tenant_id: raw(new.tenant_id.0),
            name: new.name,
            kind: new.kind as i16,
            cron: new.cron,
            time_zone: new.time_zone,
            catch_up: new.catch_up as i16,
            max_catch_up: new.max_catch_up,
            enabled: new.enabled,
            last_tick: now,
            last_job_id: None,
            create_time: now,
        }
    }

    fn definition(self) -> Result<NewSchedule> {
        let corrupt = |what| Error::Corrupt { what };
        Ok(NewSchedule {
            tenant_id: TenantId(uuid(&self.tenant_id)?),
            name: self.name,
            kind: JobKind::from_number(self.kind).ok_or(corrupt("job kind"))?,
            cron: self.cron,
            time_zone: self.time_zone,
            catch_up: CatchUp::from_number(self.catch_up).ok_or(corrupt("catch-up policy"))?,
            max_catch_up: self.max_catch_up,
            enabled: self.enabled,
        })
    }
}

#[async_trait]
impl ScheduleStore for Store {
    async fn register_schedule(&self, schedule: NewSchedule) -> Result<()> {
        self.db
            .write("register_schedule", |conn| {
                Box::pin(register(conn, schedule, now_micros()))
            })
            .await
    }

    async fn fire(&self, due: Due) -> Result<bool> {
        self.db
            .write("fire_schedule", |conn| {
                Box::pin(fire(conn, due, now_micros()))
            })
            .await
    }

    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>> {
        self.db
            .read("job_schedules", move |conn| Box::pin(all(conn, tenant)))
            .await
    }
}

async fn register(conn: &mut Connection, new: NewSchedule, now: i64) -> Result<()> {
    // two processes that start together would both find nothing
    dialect::lock_unique(conn, new.tenant_id, &format!("schedule {}", new.name)).await?;
    let tenant = raw(new.tenant_id.0);
    let known: Option<ScheduleRow> = s::job_schedules
        .find((tenant.to_owned(), &new.name))
        .select(ScheduleRow::as_select())
        .first(conn)
        .await
        .optional()?;
    let Some(known) = known else {
        diesel::insert_into(s::job_schedules)
            .values(ScheduleRow::new(new, now))
            .execute(conn)
            .await?;
        return Ok(());
    };
    let same_ticks = (&known.cron, &known.time_zone, known.enabled)
        == (&new.cron, &new.time_zone, new.enabled)
        && !is_ahead(known.last_tick, now);
    diesel::update(s::job_schedules.find((tenant, new.name)))
        .set((
            s::kind.eq(new.kind as i16),
            s::cron.eq(new.cron),
            s::time_zone.eq(new.time_zone),
            s::catch_up.eq(new.catch_up as i16),
            s::max_catch_up.eq(new.max_catch_up),
            s::enabled.eq(new.enabled),
            (!same_ticks).then(|| s::last_tick.eq(now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

async fn fire(conn: &mut Connection, due: Due, now: i64) -> Result<bool> {
    // whoever changes the row first has these ticks; the others find another last tick
    let mine = s::job_schedules
        .find((raw(due.tenant_id.0), due.schedule))
        .filter(s::last_tick.eq(due.last_tick))
        .filter(s::enabled.eq(true));
    let last = due.jobs.last().map(|job| raw(job.id.0));
    let taken = diesel::update(mine)
        .set((
            s::last_tick.eq(due.until),
            last.map(|id| s::last_job_id.eq(Some(id))),
        ))
        .execute(conn)
        .await?;
    if taken == 0 {
        return Ok(false);
    }
    for job in due.jobs {
        // a clock that was put back comes past a tick again
        diesel::insert_into(j::processing_jobs)
            .values(NewJobRow::new(job, now))
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
    }
    Ok(true)
}

async fn all(conn: &mut Connection, tenant: TenantId) -> Result<Vec<Schedule>> {
    let rows: Vec<ScheduleRow> = s::job_schedules
        .filter(s::tenant_id.eq(raw(tenant.0)))
        .order(s::name)
        .select(ScheduleRow::as_select())
        .load(conn)
        .await?;
    let mut schedules = Vec::with_capacity(rows.len());
    for row in rows {
        let last_job = match &row.last_job_id {
            Some(id) => job(conn, id).await?,
            None => None,
        };
        schedules.push(Schedule {
            last_tick: row.last_tick,
            definition: row.definition()?,
            last_job,
        });
    }
    Ok(schedules)
}

async fn job(conn: &mut Connection, id: &Id) -> Result<Option<Job>> {
    let row: Option<JobRow> = j::processing_jobs
        .find(id)
        .select(JobRow::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(Job::try_from).transpose()
}
