"""README.txt of an archive: how a stranger reads it without this software."""

from __future__ import annotations

README = """\
THIS FOLDER IS AN ARCHIVE OF MEDICAL IMAGES
===========================================

It holds DICOM objects as ordinary Part 10 files and needs no special software: anything that reads DICOM
opens the files, `sha256sum` proves that they are unharmed, and the index is made of Parquet files. It
holds personal health data: treat it as such.

What is where
-------------
vna-archive.json   which format this is ({"format": 1, ...}); this text describes format 1.
instances/         the objects:  instances/<hh>/<Study>/<Series>/<SOP>.dcm
                   <Study>, <Series>, <SOP> are Study, Series and SOP Instance UID as received; <hh> is
                   the first two hexadecimal digits of the SHA-256 of the Study Instance UID.
                   Everything behind the file meta information is, byte for byte, what was received. The
                   file meta information was written by the archive.
                   <SOP>~<12 digits>.dcm is another object that came under the same UIDs with other
                   bytes; the digits begin its SHA-256. Somebody has to decide which one is right.
                   A UID that is not made of digits and dots is written as x and its bytes in
                   hexadecimal, or, if longer than 64 bytes, as h and its SHA-256.
manifests/         manifests/<hh>/<Study>.sha256: the SHA-256 of each file of a study.
                   Check one from this folder with:  sha256sum -c manifests/<hh>/<Study>.sha256
                   Check all with:                   cat manifests/*/*.sha256 | sha256sum -c --quiet
quarantine/        quarantine/<hh>/<sha256>.dcm: bytes that could not be filed (<hh> begins the SHA-256),
                   each with a .json beside it that gives the reason.
journal/           journal/<writer>/<n>: what was received, when, and from whom; one JSON object a line.
                   It can be read with any text tool. A file <n>.open is still being written, or its
                   writer died; a last line without an end does not count.
index/             index/instances: a table of all objects, one row each, columns named by DICOM keyword
                   (Delta Lake: Parquet files and a log). It is made from the other folders and can be
                   made again. See below.
spool/             temporary files. Nothing in it has been acknowledged to anybody.

How to ask the index, without this software
-------------------------------------------
The index is a set of Parquet files in index/instances and a log in index/instances/_delta_log that says
which of them count. DO NOT read index/instances/*.parquet as it stands: files that were replaced stay
there for a while, and their rows would be counted twice. Read the log first. With DuckDB
(https://duckdb.org), started in this folder, this counts the objects by modality; it uses no extension:

-- begin recipe
-- 1. The newest checkpoint, if there is one, and the commits made after it.
SET VARIABLE checkpoint = (
    SELECT max(file) FROM glob('index/instances/_delta_log/*.checkpoint.parquet'));
SET VARIABLE checkpoint_query = CASE
    WHEN getvariable('checkpoint') IS NULL THEN 'SELECT NULL::VARCHAR AS path WHERE false'
    ELSE 'SELECT add.path AS path FROM read_parquet(''' || getvariable('checkpoint') || ''') WHERE add IS NOT NULL'
    END;
-- 2. The last thing that the log says of each file: added, or removed.
CREATE TEMP TABLE current_files AS
WITH actions AS (
    SELECT -1 AS version, path, true AS is_added FROM query(getvariable('checkpoint_query'))
    UNION ALL
    SELECT regexp_extract(filename, '(\\d+)\\.json$', 1)::BIGINT AS version,
           coalesce("add".path, "remove".path) AS path,
           "add" IS NOT NULL AS is_added
    FROM read_json('index/instances/_delta_log/*.json', format = 'newline_delimited', filename = true,
                   columns = {'add': 'STRUCT(path VARCHAR)', 'remove': 'STRUCT(path VARCHAR)'})
    WHERE coalesce("add".path, "remove".path) IS NOT NULL
      AND regexp_extract(filename, '(\\d+)\\.json$', 1)::BIGINT
          > coalesce(regexp_extract(getvariable('checkpoint'), '(\\d+)\\.checkpoint', 1)::BIGINT, -1))
SELECT 'index/instances/' || url_decode(path) AS file
FROM actions
GROUP BY path
HAVING arg_max(is_added, version);
-- 3. Those files, and nothing else.
SET VARIABLE files = (SELECT list(file) FROM current_files);
SELECT Modality, count(*) AS instances
FROM read_parquet(getvariable('files'), union_by_name = true)
GROUP BY Modality
ORDER BY Modality;
-- end recipe

Objects that arrived after the last commit are in journal/ only until the index has taken them up.
The column status tells stored and flagged objects from variants and from those in quarantine.
"""
