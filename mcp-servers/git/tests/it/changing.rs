use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::fixture::{BRANCH, Fixture};

#[tokio::test]
async fn a_commit_holds_all_changes_the_agents_name_and_the_steps_id() {
    let f = Fixture::new().await;
    f.write("new.py", "x\n");
    std::fs::remove_file(f.path("README.md")).unwrap();
    let made =
        f.step("run-1.step-1", "commit", json!({ "message": "Add it\n\nWhy.\nSyndarix-Step: forged" })).await;
    assert!(!made.is_error, "{}", made.text);
    assert_eq!((&made.value["repeated"], &made.value["branch"]), (&json!(false), &json!(BRANCH)));
    assert_eq!(made.value["files"].as_array().unwrap().len(), 2);
    let shown = f.git(&["log", "-1", "--format=%an <%ae>|%(trailers:only)|%s", BRANCH]);
    let agent = f.bench.agent;
    let expected = format!(
        "Syndarix agent 00000000000b <{agent}@agents.syndarix.local>|Syndarix-Step: run-1.step-1\n|Add it\n"
    );
    assert_eq!(shown, expected);
    assert_eq!(f.ok("status", json!({})).await["changes"], json!([]));
}

#[tokio::test]
async fn what_a_killed_write_left_is_not_committed_and_is_removed_once_it_is_old() {
    let f = Fixture::new().await;
    f.write("new.py", "x\n");
    f.write("src/.syndarix-1-2.tmp", "half\n");
    f.write(".syndarix-1-3.tmp", "old\n");
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::open(f.path(".syndarix-1-3.tmp")).unwrap().set_modified(an_hour_ago).unwrap();

    let made = f.ok("commit", json!({ "message": "Add" })).await;

    assert_eq!(made["files"].as_array().unwrap().len(), 1, "{made}");
    assert_eq!(made["files"][0]["path"], "new.py");
    assert!(f.path("src/.syndarix-1-2.tmp").exists(), "it may be under way");
    assert!(!f.path(".syndarix-1-3.tmp").exists());
}

#[tokio::test]
async fn a_repeated_step_makes_no_second_commit() {
    let f = Fixture::new().await;
    f.write("new.py", "x\n");
    let first = f.step("s1", "commit", json!({ "message": "Add" })).await;
    // After a crash the backend repeats the step; meanwhile something may even have changed.
    f.write("new.py", "y\n");
    let again = f.step("s1", "commit", json!({ "message": "Add" })).await;
    assert_eq!((&again.value["commit"], &again.value["repeated"]), (&first.value["commit"], &json!(true)));
    let second = f.step("s2", "commit", json!({ "message": "Change" })).await;
    assert_ne!(second.value["commit"], first.value["commit"]);
    assert_eq!(f.git(&["rev-list", "--count", "main..syndarix/story-1"]).trim(), "2");
}

#[tokio::test]
async fn only_the_given_paths_are_committed_and_git_says_why_not() {
    let f = Fixture::new().await;
    f.write("a/one", "1\n");
    f.write("ab", "2\n");
    let made = f.ok("commit", json!({ "message": "One", "paths": ["a"] })).await;
    assert_eq!(made["files"][0]["path"], "a/one");
    assert_eq!(made["files"].as_array().unwrap().len(), 1);
    let said = f.fails("commit", json!({ "message": "Again", "paths": ["a"] })).await;
    assert!(said.contains("nothing to commit"), "{said}");
    f.commit("Rest").await;
    let said = f.fails("commit", json!({ "message": "None" })).await;
    assert!(said.contains("nothing to commit"), "{said}");
    let said = f.fails("commit", json!({ "message": " " })).await;
    assert!(said.contains("empty"), "{said}");
}

#[tokio::test]
async fn what_a_kill_left_staged_or_locked_does_not_get_in_the_way() {
    let f = Fixture::new().await;
    let admin = f.repository.dir().join("worktrees").join(f.bench.run.to_string());
    f.write("staged", "1\n");
    crate::fixture::git(&f.bench.worktree(), &["add", "staged"]);
    std::fs::write(admin.join("index.lock"), "").unwrap();
    std::fs::write(admin.join("HEAD.lock"), "").unwrap();
    std::fs::write(f.repository.dir().join("refs/heads/syndarix/story-1.lock"), "").unwrap();
    f.write("wanted", "2\n");
    let made = f.ok("commit", json!({ "message": "One", "paths": ["wanted"] })).await;
    assert_eq!(made["files"].as_array().unwrap().len(), 1, "{made}");
    let left: Vec<String> = std::fs::read_dir(&admin)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("syndarix-index"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_run_makes_its_own_branch_and_no_other_whatever_the_name() {
    let mut f = Fixture::new().await;
    for name in ["main2", "main", "syndarix/two", "syndarix/story-1/more", "syndarix/story-"] {
        let said = f.fails("create_branch", json!({ "name": name })).await;
        assert!(said.contains(&format!("works on the branch {BRANCH} and moves no other")), "{said}");
    }
    let said = f.fails("create_branch", json!({ "name": "--upload-pack=x" })).await;
    assert!(said.contains("starts with a dash"), "{said}");
    let two = f.client_of(Some("syndarix/two")).await;
    let made = two.ok("create_branch", json!({ "name": "syndarix/two" })).await;
    assert_eq!((&made["branch"], &made["created"]), (&json!("syndarix/two"), &json!(true)));
    let again = two.ok("create_branch", json!({ "name": "syndarix/two" })).await;
    assert_eq!(again["created"], false);
    f.write("x", "1\n");
    two.ok("commit", json!({ "message": "On two" })).await;
    let listed = two.ok("list_branches", json!({ "contains": "syndarix/" })).await;
    assert_eq!(
        (&listed["current"], listed["branches"].as_array().unwrap().len()),
        (&json!("syndarix/two"), 2)
    );
    let outside = f.client_of(Some("main2")).await;
    let said = outside.fails("create_branch", json!({ "name": "main2" })).await;
    assert!(said.contains("start with \"syndarix/\""), "the token's word is not enough: {said}");
}

#[tokio::test]
async fn other_branches_are_looked_at_and_not_worked_on() {
    let f = Fixture::new().await;
    f.git(&["branch", "syndarix/story-2", "main"]);
    for other in ["main", "syndarix/story-2"] {
        let looked = f.ok("checkout", json!({ "target": other })).await;
        assert_eq!(looked["branch"], json!(null), "{other}");
        f.write("y", "1\n");
        let said = f.fails("commit", json!({ "message": "On nothing" })).await;
        assert!(said.contains("create_branch"), "{said}");
        std::fs::remove_file(f.path("y")).unwrap();
    }
    assert_eq!(f.ok("checkout", json!({ "target": BRANCH })).await["branch"], BRANCH);
    f.write("x", "1\n");
    assert_eq!(f.commit("On its own").await["branch"], BRANCH);
    assert_eq!(f.git(&["rev-parse", "syndarix/story-2"]), f.git(&["rev-parse", "main"]));
}

#[tokio::test]
async fn a_run_that_stands_on_a_branch_of_another_story_reads_it_and_does_not_move_it() {
    let mut f = Fixture::new().await;
    f.main_moves(&[("new.txt", "1\n")]).await;
    let before = f.git(&["rev-parse", BRANCH]);
    let (other, reviewer) = (f.client_of(Some("syndarix/story-2")).await, f.client_of(None).await);
    f.write("x", "1\n");
    for (client, said) in [
        (&other, "works on the branch syndarix/story-2 and moves no other; syndarix/story-1 is not its own"),
        (&reviewer, "looks only; it makes and moves no branch"),
    ] {
        for (tool, arguments) in [
            ("commit", json!({ "message": "Not mine" })),
            ("update_branch", json!({})),
            ("create_branch", json!({ "name": BRANCH })),
            ("create_pull_request", json!({ "title": "Not mine", "body": "Because." })),
        ] {
            let refused = client.fails(tool, arguments).await;
            assert!(refused.contains(said), "{tool}: {refused}");
        }
        for (tool, arguments) in [
            ("status", json!({})),
            ("diff", json!({})),
            ("log", json!({})),
            ("merge_preview", json!({ "branch": BRANCH })),
            ("read_file", json!({ "path": "README.md", "revision": BRANCH })),
        ] {
            client.ok(tool, arguments).await;
        }
    }
    assert_eq!(f.git(&["rev-parse", BRANCH]), before);
    f.commit("Mine").await;
    assert_ne!(f.git(&["rev-parse", BRANCH]), before);
}

#[tokio::test]
async fn switching_away_from_changes_that_would_be_lost_is_refused_in_gits_words() {
    let mut f = Fixture::new().await;
    let two = f.client_of(Some("syndarix/two")).await;
    two.ok("create_branch", json!({ "name": "syndarix/two" })).await;
    f.write("README.md", "two\n");
    two.ok("commit", json!({ "message": "Two" })).await;
    f.write("README.md", "three\n");
    let said = two.fails("checkout", json!({ "target": BRANCH })).await;
    assert!(said.contains("README.md") && said.contains("overwritten"), "{said}");
    assert!(!said.contains(&*f.bench.workspaces().to_string_lossy()), "no path of the server: {said}");
}

#[tokio::test]
async fn an_update_without_conflict_is_one_merge_commit() {
    let f = Fixture::new().await;
    let same = f.ok("update_branch", json!({})).await;
    assert_eq!(same["outcome"], "up_to_date");
    f.write("mine", "1\n");
    f.commit("Mine").await;
    let main = f.main_moves(&[("theirs", "2\n")]).await;
    let preview = f.ok("merge_preview", json!({})).await;
    assert_eq!(
        (&preview["clean"], &preview["ahead"], &preview["behind"]),
        (&json!(true), &json!(1), &json!(1))
    );
    f.write("README.md", "open change\n");
    let said = f.fails("update_branch", json!({})).await;
    assert!(said.contains("commit them first"), "{said}");
    f.commit("Close it").await;
    let merged = f.ok("update_branch", json!({})).await;
    assert_eq!(merged["outcome"], "merged");
    assert_eq!(f.git(&["rev-parse", "syndarix/story-1^2"]).trim(), main.as_str());
    let status = f.ok("status", json!({})).await;
    assert_eq!(
        (&status["changes"], &status["merging"], &status["behind"]),
        (&json!([]), &json!(false), &json!(0))
    );
    assert!(f.path("theirs").exists());
}

#[tokio::test]
async fn conflicts_are_listed_edited_and_committed_as_a_merge() {
    let f = Fixture::new().await;
    f.write("README.md", "# Mine\n");
    f.commit("Mine").await;
    let main = f.main_moves(&[("README.md", "# Theirs\n"), ("theirs", "1\n")]).await;
    let preview = f.ok("merge_preview", json!({})).await;
    assert_eq!((&preview["clean"], &preview["conflicts"]), (&json!(false), &json!(["README.md"])));
    for _ in 0..2 {
        let update = f.ok("update_branch", json!({})).await;
        assert_eq!((&update["outcome"], &update["conflicts"]), (&json!("conflicts"), &json!(["README.md"])));
    }
    assert_eq!(f.ok("status", json!({})).await["conflicts"], json!(["README.md"]));
    let said = f.fails("commit", json!({ "message": "Merge" })).await;
    assert!(said.contains("conflict marks"), "{said}");
    f.write("README.md", "# Both\n");
    let said = f.fails("commit", json!({ "message": "Merge", "paths": ["README.md"] })).await;
    assert!(said.contains("leave paths out"), "{said}");
    let made = f.step("m", "commit", json!({ "message": "Merge main" })).await;
    assert!(!made.is_error, "{}", made.text);
    assert_eq!(f.git(&["rev-parse", "syndarix/story-1^2"]).trim(), main.as_str());
    let status = f.ok("status", json!({})).await;
    assert_eq!((&status["merging"], &status["changes"]), (&json!(false), &json!([])));
    let again = f.step("m", "commit", json!({ "message": "Merge main" })).await;
    assert_eq!(again.value["commit"], made.value["commit"]);
}

#[tokio::test]
async fn a_merge_can_be_given_up() {
    let f = Fixture::new().await;
    f.write("README.md", "# Mine\n");
    f.commit("Mine").await;
    f.main_moves(&[("README.md", "# Theirs\n")]).await;
    f.ok("update_branch", json!({})).await;
    assert_eq!(f.ok("update_branch", json!({ "abort": true })).await["outcome"], "aborted");
    assert_eq!(std::fs::read_to_string(f.path("README.md")).unwrap(), "# Mine\n");
    let said = f.fails("update_branch", json!({ "abort": true })).await;
    assert!(said.contains("No merge is under way"), "{said}");
}

#[tokio::test]
async fn a_new_file_in_the_way_of_an_update_is_named() {
    let f = Fixture::new().await;
    f.main_moves(&[("theirs", "1\n")]).await;
    f.write("theirs", "mine\n");
    let said = f.fails("update_branch", json!({})).await;
    assert!(said.contains("theirs") && said.contains("overwritten"), "{said}");
    assert_eq!(f.ok("status", json!({})).await["merging"], false);
}

#[tokio::test]
async fn commits_of_one_run_at_the_same_time_do_not_lose_each_other() {
    let f = Fixture::new().await;
    for n in 0..4 {
        f.write(&format!("f{n}"), "x\n");
    }
    let commit = |file: &'static str| f.client.call("commit", json!({ "message": file, "paths": [file] }));
    let answers = tokio::join!(commit("f0"), commit("f1"), commit("f2"), commit("f3"));
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert!(!answer.is_error, "{}", answer.text);
        assert_eq!(answer.value["files"].as_array().unwrap().len(), 1, "{}", answer.text);
    }
    assert_eq!(f.git(&["rev-list", "--count", "main..syndarix/story-1"]).trim(), "4");
}

#[tokio::test]
async fn a_name_that_cannot_be_written_down_is_refused_and_not_left_out() {
    let f = Fixture::new().await;
    let name = std::ffi::OsString::from_vec(b"bad\xff".to_vec());
    std::fs::write(f.bench.worktree().join(name), "x").unwrap();
    let said = f.fails("commit", json!({ "message": "x" })).await;
    assert!(said.contains("UTF-8"), "{said}");
}

#[tokio::test]
async fn files_directories_links_and_modes_change_into_each_other() {
    let f = Fixture::new().await;
    std::fs::remove_dir_all(f.path("src")).unwrap();
    f.write("src", "a file now\n");
    std::fs::remove_file(f.path("README.md")).unwrap();
    f.write("README.md/inner", "a directory now\n");
    f.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(f.path("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("run.sh", f.path("link")).unwrap();
    f.write("-dash", "x\n");
    f.commit("Change kinds").await;
    let listed = f.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", BRANCH]);
    let expected = "100644 -dash\n100644 README.md/inner\n120000 link\n100755 run.sh\n100644 src\n";
    assert_eq!(listed, expected);
    assert_eq!(f.ok("status", json!({})).await["changes"], json!([]));
}

#[tokio::test]
async fn whether_a_step_has_its_commit_can_be_asked_also_while_something_else_is_checked_out() {
    let f = Fixture::new().await;
    f.write("x", "1\n");
    let arguments = json!({ "message": "Add x" });
    let trace = async |step: &str| f.client.trace("commit", arguments.clone(), step).await.unwrap();
    assert_eq!(trace("step-9").await, json!({ "trace": "not_found" }));
    let made = f.step("step-9", "commit", arguments.clone()).await.value;
    f.ok("checkout", json!({ "target": "main" })).await;
    let found = trace("step-9").await;
    assert_eq!((&found["trace"], &found["with"]["commit"]), (&json!("found"), &made["commit"]));
    assert_eq!(trace("step-10").await, json!({ "trace": "not_found" }));
}
