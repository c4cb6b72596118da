-- The tables as 0.1.0 made them.
CREATE TABLE aliases (
	model VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	number BIGINT NOT NULL, 
	moves BIGINT NOT NULL, 
	updated FLOAT NOT NULL, 
	PRIMARY KEY (model, name), 
	FOREIGN KEY(model) REFERENCES models (name) ON DELETE CASCADE
);
CREATE TABLE job_events (
	job_id VARCHAR(64) NOT NULL, 
	seq INTEGER NOT NULL, 
	time FLOAT NOT NULL, 
	attempt INTEGER NOT NULL, 
	data JSON NOT NULL, 
	PRIMARY KEY (job_id, seq), 
	FOREIGN KEY(job_id) REFERENCES jobs (job_id) ON DELETE CASCADE
);
CREATE TABLE jobs (
	job_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	tenant VARCHAR(128) NOT NULL, 
	priority INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	model VARCHAR(128) NOT NULL, 
	payload JSON NOT NULL, 
	checkpoint JSON NOT NULL, 
	result JSON, 
	error JSON, 
	request_id VARCHAR(128), 
	request_hash VARCHAR(64), 
	cancel INTEGER NOT NULL, 
	owner VARCHAR(256), 
	attempt INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	lease_until FLOAT, 
	seq INTEGER NOT NULL, 
	created FLOAT NOT NULL, 
	started FLOAT, 
	finished FLOAT, 
	PRIMARY KEY (job_id), 
	CONSTRAINT jobs_request UNIQUE (tenant, request_id)
);
CREATE TABLE models (
	name VARCHAR(128) NOT NULL, 
	created FLOAT NOT NULL, 
	next_number BIGINT NOT NULL, 
	deleted FLOAT, 
	PRIMARY KEY (name)
);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE versions (
	model VARCHAR(128) NOT NULL, 
	number BIGINT NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	artifact VARCHAR(128) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	created FLOAT NOT NULL, 
	expires FLOAT, 
	manifest JSON NOT NULL, 
	PRIMARY KEY (model, number), 
	FOREIGN KEY(model) REFERENCES models (name) ON DELETE CASCADE, 
	UNIQUE (job_id)
);
CREATE INDEX jobs_queue ON jobs (state, priority, created);
CREATE INDEX jobs_by_time ON jobs (created, job_id);
CREATE INDEX versions_expiry ON versions (expires);
