-- What may still be stored by a link to upload; NULL for any number, as for all other tokens and for links of before.
ALTER TABLE issued_tokens ADD COLUMN instances_left BIGINT;
ALTER TABLE issued_tokens ADD COLUMN bytes_left BIGINT;
