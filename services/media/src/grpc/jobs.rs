//! Background work.

use mediamesh_proto::{
    Violations,
    media::v1::{
        CreateJobRequest, CreateJobResponse, GetJobRequest, GetJobResponse, GetQueueStatsRequest,
        GetQueueStatsResponse, ListJobsRequest, ListJobsResponse, job_service_server::JobService,
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{JobGrpc, items::scope};
use crate::{
    convert::{answer, request},
    error::Error,
    service::NORMAL,
};

#[tonic::async_trait]
impl JobService for JobGrpc {
    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let (kind, item) = request::create_job(request.get_ref())?;
        let id = self.0.queue(tenant, kind, item, NORMAL).await?;
        let job = self.0.job(tenant, id).await?;
        Ok(Response::new(CreateJobResponse {
            job_id: id.to_string(),
            job: Some(answer::job(job)),
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
        let state = request::job_state(request.state, &mut violations);
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
        let jobs = self.0.list_jobs(tenant, state, after, limit).await?;
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

    async fn get_queue_stats(
        &self,
        request: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let stats = self.0.queue_stats(tenant).await?;
        Ok(Response::new(answer::queue_stats(&stats)))
    }
}
