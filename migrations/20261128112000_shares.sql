-- How many places a project gets beside others that also have work: so many times as many as one that is not named here.
create table project_share (
    project_id uuid             primary key,
    weight     double precision not null,
    constraint project_share_in_bounds check (weight between 0.01 and 100)
);
