DROP TABLE job_schedules;
DROP INDEX idx_processing_jobs_tick;
ALTER TABLE processing_jobs DROP COLUMN schedule_time;
ALTER TABLE processing_jobs DROP COLUMN schedule;
