PRAGMA application_id = 0x53324153;
PRAGMA user_version = 4;
BEGIN TRANSACTION;
CREATE TABLE absences (
        job INTEGER NOT NULL REFERENCES jobs,
        asset TEXT NOT NULL,
        edition INTEGER NOT NULL,       -- of the item; invalid once there is a newer one
        cause TEXT NOT NULL,
        reason TEXT NOT NULL,
        host TEXT NOT NULL,             -- origin of the file's server
        missing INTEGER NOT NULL,       -- 1: there is no such file; 0: it failed
        tries INTEGER NOT NULL,         -- how often in a row this was the answer
        tried INTEGER NOT NULL,         -- when that was last, seconds since 1970, UTC
        due INTEGER,                    -- when a missing one may be asked for again; null: never
        run INTEGER NOT NULL,           -- the run that asked last
        alone INTEGER NOT NULL,         -- 1: in a run that asked, its server gave others
        PRIMARY KEY (job, asset)
    ) WITHOUT ROWID
    ;
CREATE TABLE areas (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    polygon BLOB NOT NULL,              -- WKB, lon/lat
    folder TEXT NOT NULL UNIQUE,
    active INTEGER NOT NULL,            -- in the configuration of the last run
    wanted TEXT                         -- the selection that the status of its jobs is for
);
INSERT INTO "areas" VALUES(1,'ca978112ca1bbdca','a',X'010300000001000000050000003333333333332A400000000000004A403333333333332A40CDCCCCCCCC0C4A400000000000002A40CDCCCCCCCC0C4A400000000000002A400000000000004A403333333333332A400000000000004A40','a',1,'[["visual"], true, "gtiff"]');
INSERT INTO "areas" VALUES(2,'3e23e8160039594a','b',X'010300000001000000050000003333333333332A400000000000004A403333333333332A40CDCCCCCCCC0C4A400000000000002A40CDCCCCCCCC0C4A400000000000002A400000000000004A403333333333332A400000000000004A40','b',0,'[["visual"], true, "gtiff"]');
INSERT INTO "areas" VALUES(3,'2e7d2c03a9507ae2','d',X'010300000001000000050000003333333333332A400000000000004A403333333333332A40CDCCCCCCCC0C4A400000000000002A40CDCCCCCCCC0C4A400000000000002A400000000000004A403333333333332A400000000000004A40','.moving-2e7d2c03a9507ae2',1,'[["visual"], true, "gtiff"]');
CREATE TABLE files (
    item INTEGER NOT NULL REFERENCES items,
    asset TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (item, asset)
) WITHOUT ROWID;
CREATE TABLE headers (
        id INTEGER PRIMARY KEY,
        item INTEGER NOT NULL REFERENCES items,
        asset TEXT NOT NULL,
        address BLOB NOT NULL,          -- hash of the file's address
        header BLOB NOT NULL,           -- of the version of the file that is in the table files
        UNIQUE (item, asset)
    );
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    item TEXT NOT NULL,
    edition INTEGER NOT NULL,           -- counts the versions seen; facts of an older one are invalid
    version TEXT NOT NULL,
    updated TEXT NOT NULL,
    sensed INTEGER NOT NULL,            -- microseconds since 1970, UTC
    platform TEXT NOT NULL,
    grid TEXT NOT NULL,
    cloud REAL,
    epsg INTEGER,
    baseline TEXT NOT NULL,
    generated TEXT NOT NULL,
    datastrip TEXT NOT NULL,
    base TEXT NOT NULL,                 -- what the addresses of its assets have in common
    assets TEXT NOT NULL,               -- JSON: key to the rest of the address
    absent TEXT NOT NULL,               -- JSON: key to reason
    superseded_by INTEGER REFERENCES items,
    UNIQUE (collection, item)
);
INSERT INTO "items" VALUES(1,'sentinel-2-l2a','S1',1,'v1','2022-01-02T00:00:00Z',1641031200123456,'sentinel-2a','33UUU',12.5,32633,'04.00','','','https://cogs.example/S1/','{"scl":"SCL.tif","visual":"VISUAL.tif"}','{}',NULL);
INSERT INTO "items" VALUES(2,'sentinel-2-l2a','S2',1,'v1','2022-01-02T00:00:00Z',1641117600123456,'sentinel-2a','33UUU',12.5,32633,'04.00','','','https://cogs.example/S2/','{"scl":"SCL.tif","visual":"VISUAL.tif"}','{}',NULL);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL REFERENCES items,
    area INTEGER NOT NULL REFERENCES areas,
    status TEXT NOT NULL,
    found INTEGER NOT NULL,             -- the run whose search put it into the queue last
    attempts INTEGER NOT NULL DEFAULT 0,
    transient INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', cause TEXT NOT NULL DEFAULT '',
    UNIQUE (item, area)
);
INSERT INTO "jobs" VALUES(1,1,1,'saved',1,1,0,'','');
INSERT INTO "jobs" VALUES(2,1,2,'cloudy',1,1,0,'','');
INSERT INTO "jobs" VALUES(3,1,3,'saved',1,1,0,'','');
INSERT INTO "jobs" VALUES(4,2,1,'saved',1,1,0,'','');
INSERT INTO "jobs" VALUES(5,2,2,'failed',1,1,1,'timed out','');
INSERT INTO "jobs" VALUES(6,2,3,'open',1,0,0,'','');
CREATE TABLE measures (
    job INTEGER PRIMARY KEY REFERENCES jobs,
    edition INTEGER NOT NULL,
    total INTEGER NOT NULL,
    histogram BLOB NOT NULL             -- 13 little-endian numbers of 1, 2, 4 or 8 bytes
);
INSERT INTO "measures" VALUES(1,1,250,X'00000000FA0000000000000000');
INSERT INTO "measures" VALUES(2,1,250,X'00000000640000000096000000');
INSERT INTO "measures" VALUES(3,1,250,X'00000000FA0000000000000000');
INSERT INTO "measures" VALUES(4,1,250,X'00000000FA0000000000000000');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('id','07b09467');
CREATE TABLE products (
    job INTEGER NOT NULL REFERENCES jobs,
    asset TEXT NOT NULL,
    edition INTEGER NOT NULL,
    mask INTEGER NOT NULL,
    format TEXT NOT NULL,
    epsg INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (job, asset)
) WITHOUT ROWID;
INSERT INTO "products" VALUES(1,'visual',1,1,'gtiff',32633,1000,X'AF4FC3E0E37251269C64B640D222DD76EF4634AA59BCAC47E69942CCB9EC89A7','S1_visual.tif');
INSERT INTO "products" VALUES(3,'visual',1,1,'gtiff',32633,1000,X'7FBB6C3144B8D3F9ECE01DE696AD1F8978608CB432657B256C878F90C00F8D2F','S1_visual.tif');
INSERT INTO "products" VALUES(4,'visual',1,1,'gtiff',32633,1000,X'A1CCEA818E32B343780BBFE694A3D27162B051EA107F9D0083A83F78F7D8A9AF','S2_visual.tif');
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    how TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL,
    config TEXT NOT NULL
);
INSERT INTO "runs" VALUES(1,'2026-11-30T10:07:00+00:00','2026-11-30T10:07:00+00:00','finished','1.0','{}');
CREATE TABLE searches (
    run INTEGER NOT NULL REFERENCES runs,
    key TEXT NOT NULL,
    label TEXT NOT NULL,
    complete INTEGER NOT NULL,
    items INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE suspects (
        job INTEGER PRIMARY KEY REFERENCES jobs,
        deaths INTEGER NOT NULL         -- kills of the program while it decoded only this job
    );
CREATE TABLE traffic (
    run INTEGER NOT NULL REFERENCES runs,
    stage TEXT NOT NULL,
    asset TEXT NOT NULL,
    use TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (run, stage, asset, use)
) WITHOUT ROWID;
CREATE INDEX areas_name ON areas (name);
CREATE INDEX items_sensed ON items (grid, sensed);
CREATE INDEX items_superseded ON items (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX jobs_open ON jobs (item) WHERE status = 'open';
CREATE INDEX jobs_area ON jobs (area, status);
CREATE INDEX absences_due ON absences (due) WHERE due IS NOT NULL;
COMMIT;
