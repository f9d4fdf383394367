-- Who asked, where a person is known: in the playground, and with a virtual key that is somebody's. Rows from before this, and
-- those of a version that does not know of it, name nobody.
alter table usage add column user_id uuid;
