-- Names that were padded with NUL and kept it, so that nobody found them by their own value: they end before it now, as
-- every other value in the index always did. (REPLACE takes no NUL in SQLite.)

{sqlite} UPDATE person_names SET name = RTRIM(SUBSTR(name, 1, INSTR(name, CHAR(0)) - 1), ' ^') WHERE INSTR(name, CHAR(0)) > 0;

DELETE FROM person_names WHERE name = '';
