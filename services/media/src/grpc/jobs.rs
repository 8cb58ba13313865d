//! Background work.

use futures::{StreamExt as _, stream::BoxStream};
use mediamesh_proto::{
    Violations,
    media::v1::{
        CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse,
        CreateJobTreeRequest, CreateJobTreeResponse, GetJobRequest, GetJobResponse,
        GetJobTreeRequest, GetJobTreeResponse, GetQueueStatsRequest, GetQueueStatsResponse,
        ListJobsRequest, ListJobsResponse, ListSchedulesRequest, ListSchedulesResponse,
        PauseQueueRequest, PauseQueueResponse, ResumeQueueRequest, ResumeQueueResponse,
        RetryFailedJobsRequest, RetryFailedJobsResponse, RetryJobRequest, RetryJobResponse,
        WatchJobRequest, WatchJobResponse, job_service_server::JobService,
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{JobGrpc, items::scope};
use crate::{
    convert::{answer, request, tree},
    error::Error,
};

#[tonic::async_trait]
impl JobService for JobGrpc {
    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let wanted = request::create_job(request.get_ref())?;
        let id = self.0.queue(tenant, wanted).await?;
        let job = self.0.job(tenant, id).await?;
        Ok(Response::new(CreateJobResponse {
            job_id: id.to_string(),
            job: Some(answer::job(job)),
        }))
    }

    async fn create_job_tree(
        &self,
        request: Request<CreateJobTreeRequest>,
    ) -> Result<Response<CreateJobTreeResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let steps = tree::steps(request.get_ref())?;
        let id = self.0.queue_tree(tenant, steps).await?;
        let (steps, status) = self.0.tree(tenant, id).await?;
        Ok(Response::new(CreateJobTreeResponse {
            job_tree: Some(tree::job_tree(id, steps, status)),
        }))
    }

    async fn get_job_tree(
        &self,
        request: Request<GetJobTreeRequest>,
    ) -> Result<Response<GetJobTreeResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let id = request::job_id(&request.get_ref().job_tree_id)?;
        let (steps, status) = self.0.tree(tenant, id).await?;
        Ok(Response::new(GetJobTreeResponse {
            job_tree: Some(tree::job_tree(id, steps, status)),
        }))
    }

    async fn get_job(
        &self,
        request: Request<GetJobRequest>,
    ) -> Result<Response<GetJobResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let job = self
            .0
            .job(tenant, request::job_id(&request.get_ref().job_id)?)
            .await?;
        Ok(Response::new(GetJobResponse {
            job: Some(answer::job(job)),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let limit = request::page_size(request.page_size, 50, 500, &mut violations);
        let filter = request::job_filter(request.state, request.kind, &mut violations);
        violations.finish().map_err(Error::from)?;
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let scope = scope("jobs", tenant, &request.encode_to_vec());
        let position: Option<(i64, String)> = self
            .0
            .page_tokens
            .open(&scope, &token)
            .map_err(Error::from)?;
        let after = position
            .map(|(time, id)| request::job_id(&id).map(|id| (time, id)))
            .transpose()?;
        let jobs = self.0.list_jobs(tenant, filter, after, limit).await?;
        let full = i64::try_from(jobs.len()).is_ok_and(|count| count >= limit);
        let next_page_token = match jobs.last() {
            Some(last) if full => self
                .0
                .page_tokens
                .seal(&scope, &(last.create_time, last.id.to_string())),
            _ => String::new(),
        };
        let jobs = jobs.into_iter().map(answer::job).collect();
        Ok(Response::new(ListJobsResponse {
            jobs,
            next_page_token,
        }))
    }

    async fn list_schedules(
        &self,
        request: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        request::tenant(&request)?;
        let schedules = self.0.schedules().await?;
        Ok(Response::new(ListSchedulesResponse {
            schedules: schedules.into_iter().map(answer::schedule).collect(),
        }))
    }

    async fn get_queue_stats(
        &self,
        request: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let (stats, pauses, reached) = self.0.queue_stats(tenant).await?;
        let answer = answer::queue_stats(&stats, &pauses, &reached);
        Ok(Response::new(answer))
    }

    type WatchJobStream = BoxStream<'static, Result<WatchJobResponse, Status>>;

    async fn watch_job(
        &self,
        request: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let tenant = request::tenant(&request)?;
        let id = request::job_id(&request.get_ref().job_id)?;
        let changes = self.0.watch_job(tenant, id).await?.map(|job| {
            Ok(WatchJobResponse {
                job: Some(answer::job(job?)),
            })
        });
        Ok(Response::new(changes.boxed()))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let id = request::job_id(&request.get_ref().job_id)?;
        let job = self.0.cancel_job(tenant, id).await?;
        Ok(Response::new(CancelJobResponse {
            job: Some(answer::job(job)),
        }))
    }

    async fn retry_job(
        &self,
        request: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let id = request::job_id(&request.get_ref().job_id)?;
        let job = self.0.retry_job(tenant, id).await?;
        Ok(Response::new(RetryJobResponse {
            job: Some(answer::job(job)),
        }))
    }

    async fn retry_failed_jobs(
        &self,
        request: Request<RetryFailedJobsRequest>,
    ) -> Result<Response<RetryFailedJobsResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let request = request.get_ref();
        let kind = request::job_kind(request.kind)?;
        let limit = request::max_count(request.max_count)?;
        let count = self.0.retry_failed(tenant, kind, limit).await?;
        Ok(Response::new(RetryFailedJobsResponse {
            retried_count: i32::try_from(count).unwrap_or(i32::MAX),
        }))
    }

    async fn pause_queue(
        &self,
        request: Request<PauseQueueRequest>,
    ) -> Result<Response<PauseQueueResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let request = request.get_ref();
        let kind = request::job_kind(request.kind)?;
        let until = request::until(request.until_time.as_ref())?;
        let pauses = self.0.pause(tenant, kind, until).await?;
        Ok(Response::new(PauseQueueResponse {
            pauses: answer::pauses(&pauses),
        }))
    }

    async fn resume_queue(
        &self,
        request: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let kind = request::job_kind(request.get_ref().kind)?;
        let pauses = self.0.resume(tenant, kind).await?;
        Ok(Response::new(ResumeQueueResponse {
            pauses: answer::pauses(&pauses),
        }))
    }
}
