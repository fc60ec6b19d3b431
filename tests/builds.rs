//! Workflows, GitLab CI, bake and compose files, Makefiles and scripts: what `check` makes of builds in other clothes, of
//! what cannot be known, and of files that are broken.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const PLAIN: &str = "FROM alpine:3.20.3\nCOPY run.sh /run.sh\n";
const STAGES: &str = "FROM golang:1.23.3 AS build\nWORKDIR /s\nCOPY go.mod ./\nRUN go mod download\nCOPY main.go ./\n\
                      RUN go build -o /a .\nFROM scratch\nCOPY --from=build /a /a\n";
const MOUNTS: &str = "FROM golang:1.23.3 AS build\nWORKDIR /s\nCOPY . .\n\
                      RUN --mount=type=cache,target=/go/pkg/mod go build -o /a .\nFROM scratch\nCOPY --from=build /a /a\n";
const CHECKED: &str = "FROM golang:1.23.3 AS build\nWORKDIR /s\nCOPY . .\nRUN go build -o /a .\n\
                       FROM build AS test\nRUN go test ./...\nFROM scratch AS app\nCOPY --from=build /a /a\n";

/// The rules about builds.
const RULES: &str = "unreachable-check-stage,gha-scope-collision,gha-repeat-build,ci-cache-mount-ephemeral,\
                     cache-to-min-multistage,normalised-mtimes";

fn lay_out(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.args(args).current_dir(dir).env_remove("GITHUB_ACTIONS").output().unwrap()
}

fn check(dir: &Path, args: &[&str]) -> Value {
    let mut all = vec!["check", "--format", "json", "--no-config"];
    all.extend(args);
    let output = run(dir, &all);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// `rule path:line` of every finding about builds.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let dir = lay_out(files);
    let report = check(dir.path(), &["--select", RULES]);
    assert_eq!(report["errors"], Value::Array(Vec::new()), "{report}");
    let line =
        |f: &Value| format!("{} {}:{}", f["rule"].as_str().unwrap(), f["path"].as_str().unwrap(), f["line"]);
    report["findings"].as_array().unwrap().iter().map(line).collect()
}

fn workflow(job: &str) -> String {
    format!("on: [push]\njobs:\n  build:\n    runs-on: ubuntu-latest\n{job}")
}

const TWO: [(&str, &str); 2] = [("api/Dockerfile", PLAIN), ("web/Dockerfile", PLAIN)];

fn collision(path: &str, text: &str) -> Vec<String> {
    found(&[TWO[0], TWO[1], (path, text)])
}

#[test]
fn images_that_share_a_cache_are_found_in_every_clothing() {
    let matrix = workflow(
        "    strategy:\n      matrix:\n        include:\n          - {name: api, dir: ./api}\n          - {name: web, dir: ./web}\n    \
         steps:\n      - uses: docker/build-push-action@v6\n        with:\n          context: ${{ matrix.dir }}\n          \
         cache-to: |\n            type=gha,mode=max\n",
    );
    assert_eq!(
        collision(".github/workflows/x.yml", &matrix),
        ["gha-scope-collision .github/workflows/x.yml:15"]
    );
    let scoped = matrix.replace("mode=max", "mode=max,scope=${{ matrix.name }}");
    assert_eq!(collision(".github/workflows/x.yml", &scoped), Vec::<String>::new());
    let dynamic = workflow(
        "    strategy:\n      matrix:\n        dir: ${{ fromJSON(needs.list.outputs.dirs) }}\n    steps:\n      \
         - uses: docker/build-push-action@v6\n        with:\n          context: ${{ matrix.dir }}\n          cache-to: type=gha\n",
    );
    assert_eq!(
        collision(".github/workflows/x.yml", &dynamic),
        ["gha-scope-collision .github/workflows/x.yml:12"]
    );
    let commands = workflow(
        "    steps:\n      - run: |\n          for i in api web; do\n            docker buildx build --cache-to type=gha,mode=max --push -t r/$i ./$i\n          done\n",
    );
    assert_eq!(
        collision(".github/workflows/x.yml", &commands),
        ["gha-scope-collision .github/workflows/x.yml:8"]
    );
    let gitlab = "services: [docker:27-dind]\n.build: &build\n  script:\n    - docker buildx build --push --cache-to type=registry,ref=r/cache,mode=max $DIR\n\
                  api:\n  extends: .build\n  variables: {DIR: api}\nweb:\n  <<: *build\n  variables: {DIR: web}\n";
    assert_eq!(collision(".gitlab-ci.yml", gitlab), ["gha-scope-collision .gitlab-ci.yml:4"]);
    let bake = "target \"_base\" {\n  cache-to = [\"type=gha,mode=max\"]\n}\ntarget \"api\" {\n  inherits = [\"_base\"]\n  context = \"api\"\n}\n\
                target \"web\" {\n  inherits = [\"_base\"]\n  context = \"web\"\n}\n";
    assert_eq!(collision("docker-bake.hcl", bake), ["gha-scope-collision docker-bake.hcl:2"]);
    let matrix_bake = "target \"all\" {\n  matrix = { dir = [\"api\", \"web\"] }\n  name = dir\n  context = dir\n  cache-to = [{type = \"gha\"}]\n}\n";
    assert_eq!(collision("docker-bake.hcl", matrix_bake), ["gha-scope-collision docker-bake.hcl:5"]);
    let own = matrix_bake.replace("type = \"gha\"", "type = \"gha\", scope = dir");
    assert_eq!(collision("docker-bake.hcl", &own), Vec::<String>::new());
    let json = r#"{"target": {"api": {"context": "api", "cache-to": ["type=gha"]}, "web": {"context": "web", "cache-to": ["type=gha"]}}}"#;
    assert_eq!(collision("docker-bake.json", json), ["gha-scope-collision docker-bake.json:1"]);
    let compose = "services:\n  api:\n    build: {context: api, cache_to: [\"type=gha\"]}\n  web:\n    build:\n      context: web\n      \
                   x-bake:\n        cache-to: type=gha\n";
    assert_eq!(collision("compose.yaml", compose), ["gha-scope-collision compose.yaml:3"]);
}

#[test]
fn bake_steps_build_what_the_bake_file_says() {
    let bake = "group \"default\" { targets = [\"api\", \"web\"] }\ntarget \"api\" { context = \"api\" }\ntarget \"web\" { context = \"web\" }\n";
    let step = |with: &str| {
        workflow(&format!(
            "    steps:\n      - uses: actions/checkout@v4\n      - uses: docker/bake-action@v5\n        with:\n{with}"
        ))
    };
    let shared = step("          source: .\n          set: |\n            *.cache-to=type=gha,mode=max\n");
    let files =
        |text: &str| found(&[TWO[0], TWO[1], ("docker-bake.hcl", bake), (".github/workflows/x.yml", text)]);
    assert_eq!(files(&shared), ["gha-scope-collision .github/workflows/x.yml:11"]);
    let own = step(
        "          set: |\n            api.cache-to=type=gha,scope=api\n            web.cache-to=type=gha,scope=web\n",
    );
    assert_eq!(files(&own), Vec::<String>::new());
}

#[test]
fn workflows_and_actions_of_the_repository_are_followed() {
    let callee = "on:\n  workflow_call:\n    inputs:\n      dir: {type: string, required: true}\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      \
                  - uses: docker/build-push-action@v6\n        with:\n          context: ${{ inputs.dir }}\n          cache-to: type=gha,mode=max\n";
    let caller = "on: push\njobs:\n  api:\n    uses: ./.github/workflows/build.yml\n    with: {dir: api}\n  web:\n    uses: ./.github/workflows/build.yml\n    with: {dir: web}\n";
    let one = caller.replace("{dir: web}", "{dir: ./api/}");
    let files = |caller: &str| {
        found(&[
            TWO[0],
            TWO[1],
            (".github/workflows/build.yml", callee),
            (".github/workflows/ci.yml", caller),
        ])
    };
    assert_eq!(files(caller), ["gha-scope-collision .github/workflows/build.yml:12"]);
    assert_eq!(files(&one), Vec::<String>::new());
    let action = "inputs: {dir: {default: api}}\nruns:\n  using: composite\n  steps:\n    - uses: docker/build-push-action@v6\n      with:\n        context: ${{ inputs.dir }}\n        \
                  cache-to: type=gha\n";
    let uses = workflow(
        "    steps:\n      - uses: ./.github/actions/image\n      - uses: ./.github/actions/image\n        with: {dir: web}\n",
    );
    assert_eq!(
        found(&[
            TWO[0],
            TWO[1],
            (".github/actions/image/action.yml", action),
            (".github/workflows/ci.yml", &uses)
        ]),
        ["gha-scope-collision .github/actions/image/action.yml:8"]
    );
}

#[test]
fn one_image_under_many_names_is_no_collision() {
    let twice = workflow(
        "    steps:\n      - uses: docker/build-push-action@v6\n        with: {context: ., load: true, cache-to: type=gha}\n      \
         - uses: docker/build-push-action@v6\n        with: {context: ., push: true, cache-from: type=gha}\n",
    );
    assert_eq!(found(&[("Dockerfile", PLAIN), (".github/workflows/x.yml", &twice)]), Vec::<String>::new());
    // The second target needs all that the first one needs.
    let targets = workflow(
        "    steps:\n      - uses: docker/build-push-action@v6\n        with: {context: ., target: build, cache-to: 'type=gha,mode=max'}\n      \
         - uses: docker/build-push-action@v6\n        with: {context: ., cache-to: 'type=gha,mode=max'}\n",
    );
    assert_eq!(found(&[("Dockerfile", STAGES), (".github/workflows/x.yml", &targets)]), Vec::<String>::new());
}

#[test]
fn repeated_builds_are_found_and_different_ones_are_not() {
    let gitlab = "build:\n  services: [docker:dind]\n  script:\n    - docker buildx build --cache-to type=registry,ref=r/c,mode=max -t a --load .\n    \
                  - docker run a\n    - docker buildx build --cache-to type=registry,ref=r/c,mode=max -t r/a --push .\n";
    let files = |text: &str| found(&[("Dockerfile", PLAIN), (".gitlab-ci.yml", text)]);
    assert_eq!(files(gitlab), ["gha-repeat-build .gitlab-ci.yml:4"]);
    let platform = gitlab
        .replace("-t r/a", "--platform linux/arm64 -t r/a")
        .replace("-t a", "--platform linux/arm64,linux/amd64 -t a");
    assert_eq!(files(&platform), Vec::<String>::new());
    let step = |condition: &str| {
        format!(
            "      - uses: docker/build-push-action@v6\n        if: {condition}\n        with: {{context: ., cache-to: type=gha}}\n"
        )
    };
    let exclusive = workflow(&format!(
        "    steps:\n{}{}",
        step("github.event_name == 'push'"),
        step("github.event_name != 'push'")
    ));
    assert_eq!(
        found(&[("Dockerfile", PLAIN), (".github/workflows/x.yml", &exclusive)]),
        Vec::<String>::new()
    );
    let same = workflow(&format!("    steps:\n{}{}", step("a"), step("a")));
    assert_eq!(
        found(&[("Dockerfile", PLAIN), (".github/workflows/x.yml", &same)]),
        ["gha-repeat-build .github/workflows/x.yml:6"]
    );
}

#[test]
fn empty_mounts_are_found_where_the_builder_is_new() {
    let step = "      - uses: docker/build-push-action@v6\n        with: {context: ., cache-from: type=gha, cache-to: 'type=gha,mode=max'}\n";
    let files = |text: &str| {
        found(&[
            ("Dockerfile", MOUNTS),
            ("go.mod", "module a\n"),
            ("main.go", ""),
            (".dockerignore", ".git\n"),
            (".github/workflows/x.yml", text),
        ])
    };
    assert_eq!(files(&workflow(&format!("    steps:\n{step}"))), ["ci-cache-mount-ephemeral Dockerfile:4"]);
    let own = workflow(&format!("    steps:\n{step}")).replace("ubuntu-latest", "[self-hosted, linux]");
    assert_eq!(files(&own), Vec::<String>::new());
    let remote = workflow(&format!(
        "    steps:\n      - uses: docker/setup-buildx-action@v3\n        with: {{driver: remote, endpoint: tcp://b:1}}\n{step}"
    ));
    assert_eq!(files(&remote), Vec::<String>::new());
    let dance = workflow(&format!(
        "    steps:\n      - uses: reproducible-containers/buildkit-cache-dance@v3\n{step}"
    ));
    assert_eq!(files(&dance), Vec::<String>::new());
    let gitlab = "build:\n  image: docker:27\n  services:\n    - name: docker:27-dind\n  script:\n    - docker buildx create --use\n    - >-\n      docker buildx build\n      \
                  --cache-from type=registry,ref=$CI_REGISTRY_IMAGE/cache\n      --cache-to type=registry,ref=$CI_REGISTRY_IMAGE/cache,mode=max --push .\n";
    let files = |text: &str| {
        found(&[("Dockerfile", MOUNTS), ("go.mod", "module a\n"), ("main.go", ""), (".gitlab-ci.yml", text)])
    };
    assert_eq!(files(gitlab), ["ci-cache-mount-ephemeral Dockerfile:4"]);
}

#[test]
fn exports_of_the_last_stage_alone_are_found_in_every_clothing() {
    let files = |path: &str, text: &str| {
        found(&[("Dockerfile", STAGES), ("go.mod", "module a\n"), ("main.go", ""), (path, text)])
    };
    let inline = "services: [docker:dind]\nbuild:\n  script:\n    - docker build --cache-from $I --build-arg BUILDKIT_INLINE_CACHE=1 -t $I .\n";
    assert_eq!(files(".gitlab-ci.yml", inline), ["cache-to-min-multistage .gitlab-ci.yml:4"]);
    let bake = "target \"default\" {\n  cache-to = [\"type=inline\"]\n}\n";
    assert_eq!(files("docker-bake.hcl", bake), ["cache-to-min-multistage docker-bake.hcl:2"]);
    let said = "target \"default\" {\n  # the registry has little room\n  cache-to = [\"type=registry,ref=a,mode=min\"]\n}\n";
    assert_eq!(files("docker-bake.hcl", said), Vec::<String>::new());
    let max = "target \"default\" {\n  cache-to = [\"type=inline\", \"type=registry,ref=a,mode=max\"]\n}\n";
    assert_eq!(files("docker-bake.hcl", max), Vec::<String>::new());
    let compose =
        "services:\n  app:\n    build:\n      context: .\n      cache_to:\n        - type=registry,ref=a\n";
    assert_eq!(files("compose.yaml", compose), ["cache-to-min-multistage compose.yaml:6"]);
    let unknown = workflow(
        "    steps:\n      - uses: docker/build-push-action@v6\n        with:\n          context: .\n          cache-to: ${{ inputs.cache }}\n",
    );
    assert_eq!(files(".github/workflows/x.yml", &unknown), Vec::<String>::new());
    let only = "FROM golang:1.23.3\nCOPY main.go ./\nRUN go build -o /a .\n";
    assert_eq!(
        found(&[("Dockerfile", only), ("main.go", ""), ("docker-bake.hcl", bake)]),
        Vec::<String>::new()
    );
}

#[test]
fn a_check_that_somebody_builds_is_reached() {
    let files = |path: &str, text: &str| {
        found(&[("Dockerfile", CHECKED), ("go.mod", "module a\n"), ("main.go", ""), (path, text)])
    };
    let missed = ["unreachable-check-stage Dockerfile:5"];
    assert_eq!(files("notes.txt", "--target test"), missed);
    let by_workflow = workflow(
        "    steps:\n      - uses: docker/build-push-action@v6\n        with: {context: ., target: test}\n      - run: docker build .\n",
    );
    assert_eq!(files(".github/workflows/x.yml", &by_workflow), Vec::<String>::new());
    let other = workflow("    steps:\n      - run: docker build --target app .\n");
    assert_eq!(files(".github/workflows/x.yml", &other), missed);
    let unknown = workflow("    steps:\n      - run: docker build --target $STAGE .\n");
    assert_eq!(files(".github/workflows/x.yml", &unknown), Vec::<String>::new());
    for (path, text) in [
        ("Makefile", "STAGE := test\ncheck:\n\tdocker build --target=$(STAGE) .\n"),
        ("justfile", "check:\n    docker build --target test .\n"),
        (
            "docker-bake.hcl",
            "group \"default\" { targets = [\"a\", \"t\"] }\ntarget \"a\" {}\ntarget \"t\" { target = \"test\" }\n",
        ),
        ("compose.test.yaml", "services:\n  t:\n    build:\n      context: .\n      target: test\n"),
        (".gitlab-ci.yml", "t:\n  script: docker build --target test .\n"),
        ("ci.sh", "docker build --target test .\n"),
        ("README.md", "Run `docker build --target test .`\n"),
        ("package.json", "{\"scripts\": {\"test\": \"docker build --target test .\"}}"),
    ] {
        assert_eq!(files(path, text), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn equal_times_are_found_in_every_clothing() {
    let make = |recipe: &str| {
        let text =
            format!("EPOCH ?= 1577836800\nimage: prepare\n\tdocker build -t a .\n\nprepare:\n\t{recipe}\n");
        found(&[("Dockerfile", PLAIN), ("run.sh", "true\n"), ("Makefile", &text)])
    };
    for recipe in [
        "find . -type f -exec touch -d @0 {} +",
        "find . -print0 | xargs -0r touch --no-dereference --date=@$(EPOCH)",
        "git ls-files | xargs touch -t 200001010000",
        "git ls-files -z | while read -r -d '' f; do touch -d '2020-01-01' \"$$f\"; done",
        "for f in $$(git ls-files); do touch -d \"@$(EPOCH)\" $$f; done",
        "@find . -exec touch -hcd '2001-01-01 00:00:00' {} \\;",
        "find . -type f | xargs touch -r Makefile",
        "touch -d @1 *.sh",
        "git archive --mtime=2020-01-01T00:00:00Z HEAD | tar -x -C .",
        "tar --mtime=@0 -cf /tmp/x.tar . && tar -xf /tmp/x.tar",
        "export SOURCE_DATE_EPOCH=1; find . -exec touch -d \"@$$SOURCE_DATE_EPOCH\" {} +",
    ] {
        assert_eq!(make(recipe), ["normalised-mtimes Makefile:6"], "{recipe}");
    }
    for recipe in [
        "touch .stamp",
        "touch -d @0 .stamp",
        "git restore-mtime",
        "find . -exec touch {} +",
        "find . -exec touch -d now {} +",
        "find . -exec touch -d \"@$$(git log -1 --format=%ct)\" {} +",
        "find . -exec touch -d @0 {} + && docker builder prune -af",
        "find . -exec touch -d @0 {} + && git restore-mtime",
        "tar --mtime=@0 -cf /tmp/x.tar .",
        "find /elsewhere -exec touch -d @0 {} +",
        "find . -name '*.go' | xargs gofmt -d",
    ] {
        assert_eq!(make(recipe), Vec::<String>::new(), "{recipe}");
    }
}

#[test]
fn equal_times_matter_where_the_builder_stays() {
    let files = |path: &str, text: &str| found(&[("Dockerfile", PLAIN), ("run.sh", "true\n"), (path, text)]);
    let steps = "    steps:\n      - run: find . -type f -exec touch -d @0 {} +\n      - uses: docker/build-push-action@v6\n        with:\n          context: .\n";
    assert_eq!(files(".github/workflows/x.yml", &workflow(steps)), Vec::<String>::new());
    let own = workflow(steps).replace("ubuntu-latest", "self-hosted");
    assert_eq!(files(".github/workflows/x.yml", &own), ["normalised-mtimes .github/workflows/x.yml:6"]);
    // Without `context` the builder fetches the repository.
    let git = own.replace("        with:\n          context: .\n", "");
    assert_eq!(files(".github/workflows/x.yml", &git), Vec::<String>::new());
    let gitlab = "image:\n  script:\n    - git ls-files | xargs touch -d 2020-01-01\n    - docker build .\n";
    assert_eq!(
        files(".gitlab-ci.yml", &gitlab.replacen("image:", "job:", 1)),
        ["normalised-mtimes .gitlab-ci.yml:3"]
    );
    let just = "epoch := '0'\n\nprep:\n    find . -exec touch -d @{{epoch}} {} +\n\nimage: prep\n    docker build .\n";
    assert_eq!(files("justfile", just), ["normalised-mtimes justfile:4"]);
    assert_eq!(
        files("build.sh", "#!/bin/sh\nset -e\nfind . -exec touch -d @0 {} +\ndocker build - < context.tar\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        files("build.sh", "#!/bin/sh\nfind . -exec touch -d @0 {} +\ndocker build .\n"),
        ["normalised-mtimes build.sh:2"]
    );
}

#[test]
fn the_context_is_what_a_build_file_says() {
    let dockerfile = "FROM alpine:3.20.3\nCOPY . /x\nRUN cat /x/secret.log\n";
    let dir = lay_out(&[
        ("docker/Dockerfile", dockerfile),
        ("app/debug.log", "x"),
        ("app/.dockerignore", "*.log\n"),
        (
            "compose.yaml",
            "services:\n  a:\n    build:\n      context: app\n      dockerfile: ../docker/Dockerfile\n",
        ),
        (".git/config", ""),
    ]);
    let report =
        check(dir.path(), &["--select", "missing-dockerignore,dockerignore-gap", "docker/Dockerfile"]);
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
    std::fs::remove_file(dir.path().join("app/.dockerignore")).unwrap();
    let report = check(dir.path(), &["--select", "missing-dockerignore", "docker/Dockerfile"]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn a_named_build_file_is_checked_with_the_dockerfiles_it_builds() {
    let bake = "target \"default\" {\n  cache-to = [\"type=inline\"]\n}\n";
    let dir =
        lay_out(&[("Dockerfile", STAGES), ("go.mod", "module a\n"), ("main.go", ""), ("images.hcl", bake)]);
    let report = check(dir.path(), &["images.hcl"]);
    let rules: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["cache-to-min-multistage"]);
    assert_eq!(report["findings"][0]["path"], "images.hcl");
    assert_eq!(report["findings"][0]["line"], 2);
}

#[test]
fn comments_silence_rules_in_build_files() {
    let text = workflow(
        "    steps:\n      # layerlint ignore=gha-scope-collision reason=\"both are small\"\n      - uses: docker/build-push-action@v6\n        with: {context: api, cache-to: type=gha}\n      \
         - uses: docker/build-push-action@v6\n        with: {context: web, cache-to: type=gha}\n",
    );
    assert_eq!(collision(".github/workflows/x.yml", &text), Vec::<String>::new());
}

#[test]
fn broken_and_hostile_files_stop_nothing() {
    let deep = format!("jobs: {}", "[".repeat(100_000));
    let bomb: String = (1..40)
        .fold("a0: &a0 [docker]\n".to_owned(), |t, n| format!("{t}a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1));
    let script = format!("{bomb}job:\n  script: *a39\n");
    let circle = "a:\n  extends: b\n  script: docker build .\nb:\n  extends: a\n";
    let bake = "target \"a\" {\n  inherits = [\"b\"]\n}\ntarget \"b\" {\n  inherits = [\"a\"]\n}\ngroup \"default\" { targets = [\"default\", \"a\"] }\n";
    for (path, text) in [
        (".github/workflows/x.yml", "jobs:\n  a: b: docker\n"),
        (".github/workflows/x.yml", deep.as_str()),
        (".github/workflows/x.yml", "{{ if .docker }}\njobs: {{ .jobs }}\n{{ end }}\n"),
        (".github/workflows/x.yml", "on: push\njobs:\n  a:\n    uses: ./.github/workflows/x.yml # docker\n"),
        (".github/workflows/x.yml", "docker\n---\n- a\n---\n"),
        (
            ".github/workflows/x.yml",
            "jobs:\n  a: docker\n  b: [1]\n  c:\n    strategy: {matrix: x}\n    steps: {a: 1}\n  d:\n    steps: [1, {uses: 2}, {run: }]\n",
        ),
        (".gitlab-ci.yml", script.as_str()),
        (".gitlab-ci.yml", circle),
        (".gitlab-ci.yml", "include: .gitlab-ci.yml\na:\n  script: !reference [a, script]\n"),
        ("docker-bake.hcl", bake),
        ("docker-bake.hcl", "target \"a\" {"),
        ("docker-bake.json", "{\"target\": [1, {\"a\": 2}]}"),
        (
            "compose.yaml",
            "services:\n  a: &a\n    extends: {service: b}\n    build: .\n  b:\n    extends: a\n",
        ),
        ("compose.yaml", "services: [1]\nbuild: 1\n"),
        ("Makefile", "docker build: $(\n\t\\\n"),
        ("justfile", "docker build:\n    {{"),
        ("docker.sh", "docker build $(((("),
        ("\u{e9}.sh", "docker build \"${A[@]}\" --file\n"),
    ] {
        let dir = lay_out(&[("Dockerfile", PLAIN), ("run.sh", "true\n"), (path, text)]);
        let output = run(dir.path(), &["check", "--no-config", "."]);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            matches!(output.status.code(), Some(0)),
            "{path} {}: {:?} {shown}",
            &text[..text.len().min(80)],
            output.status
        );
    }
    let dir = lay_out(&[("Dockerfile", PLAIN), ("run.sh", "true\n")]);
    std::fs::create_dir_all(dir.path().join(".github/workflows")).unwrap();
    std::fs::write(dir.path().join(".github/workflows/x.yml"), b"docker: \xff\xfe").unwrap();
    assert_eq!(run(dir.path(), &["check", "--no-config", "."]).status.code(), Some(0));
}

#[test]
fn builds_are_taken_from_bake_and_compose_files() {
    let dockerfile = "FROM scratch AS base\nARG MARKET=us\nCOPY a /a\nFROM base AS other\nCOPY b /b\n";
    let bake = "variable \"MARKET\" { default = \"eu\" }\ngroup \"default\" { targets = [\"app\", \"web\"] }\n\
                target \"app\" {\n  context = \"app\"\n  target = \"base\"\n  args = { MARKET = MARKET }\n  platforms = [\"linux/arm64\"]\n}\n\
                target \"web\" {\n  inherits = [\"app\"]\n  target = \"other\"\n  args = { WHEN = timestamp() }\n}\n";
    let compose = "services:\n  app:\n    build:\n      context: ./app\n      target: base\n      args:\n        MARKET: ${MARKET_OF_A_TEST:-jp}\n";
    let dir = lay_out(&[
        ("app/Dockerfile", dockerfile),
        ("app/a", "a"),
        ("app/b", "b"),
        ("docker-bake.hcl", bake),
        ("compose.yaml", compose),
    ]);
    let keys = |args: &[&str]| -> Value {
        let mut all = vec!["keys", "--format", "json"];
        all.extend(args);
        let output = run(dir.path(), &all);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&output.stderr)))
    };
    let app = keys(&["--from-bake", "docker-bake.hcl:app"]);
    assert_eq!((&app["target"], &app["platform"]), (&Value::from("base"), &Value::from("linux/arm64")));
    assert_eq!((&app["context"], &app["build_args"]["MARKET"]), (&Value::from("app"), &Value::from("eu")));
    let typed = keys(&[
        "-f",
        "app/Dockerfile",
        "--target",
        "base",
        "--build-arg",
        "MARKET=eu",
        "--platform",
        "linux/arm64",
        "app",
    ]);
    assert_eq!(app["steps"], typed["steps"]);
    let composed = keys(&["--from-compose", "compose.yaml", "--build-arg", "MARKET=de"]);
    assert_eq!(
        (&composed["target"], &composed["build_args"]["MARKET"]),
        (&Value::from("base"), &Value::from("de"))
    );
    for (args, words) in [
        (["--from-bake", "docker-bake.hcl"], "it builds `app`, `web`"),
        (["--from-bake", "docker-bake.hcl:nope"], "builds no target `nope`"),
        (["--from-bake", "docker-bake.hcl:web"], "the argument `WHEN` of `web` is `${timestamp()}`"),
        (["--from-compose", "nothing.yaml"], "cannot read nothing.yaml"),
    ] {
        let output = keys(&args);
        assert!(output.as_str().is_some_and(|text| text.contains(words)), "{args:?}: {output}");
    }
}
