//! The formats that other programs read: one snapshot each, and SARIF against the official schema.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A project with a finding of every severity, a refused file, and names that have to be escaped.
fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &str); 4] = [
        (
            "a & <b>/Dockerfile",
            "FROM debian:12.8-slim AS tools\nRUN apt-get update\nRUN apt-get install -y \"curl\" | cat\n",
        ),
        ("Dockerfile", "FROM scratch\n\n# layerlint ignore=no-such-rule\nCMD [\"/x\"]\n"),
        ("refused.Dockerfile", "FROM scratch\nFLY `away`\n"),
        ("clean.Dockerfile", "FROM scratch\n"),
    ];
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn check(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.arg("check").args(args).current_dir(dir).stdin(Stdio::null());
    for variable in ["GITHUB_ACTIONS", "GITHUB_WORKSPACE", "CI_PROJECT_DIR"] {
        command.env_remove(variable);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn shown(format: &str) -> String {
    check(project().path(), &["--format", format])
}

#[test]
fn checkstyle() {
    insta::assert_snapshot!(shown("checkstyle"), @r##"
    <?xml version="1.0" encoding="utf-8"?>
    <checkstyle version="4.3">
      <file name="Dockerfile">
        <error line="3" column="20" severity="info" message="there is no rule `no-such-rule`" source="layerlint.unused-ignore"/>
      </file>
      <file name="a &amp; &lt;b&gt;/Dockerfile">
        <error line="3" column="5" severity="warning" message="`apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found" source="layerlint.apt-update-split"/>
      </file>
      <file name="refused.Dockerfile">
        <error line="2" column="1" severity="error" message="`FLY` is no instruction" source="layerlint.refused"/>
      </file>
    </checkstyle>
    "##);
}

#[test]
fn junit() {
    insta::assert_snapshot!(shown("junit"), @r##"
    <?xml version="1.0" encoding="utf-8"?>
    <testsuites name="layerlint" tests="4" failures="1" errors="1">
      <testsuite name="Dockerfile" tests="1" failures="0" errors="0">
        <testcase name="unused-ignore Dockerfile:3:20" classname="Dockerfile" file="Dockerfile" line="3">
          <system-out>Dockerfile:3:20: there is no rule `no-such-rule`&#10;help: `layerlint rules` lists the names</system-out>
        </testcase>
      </testsuite>
      <testsuite name="a &amp; &lt;b&gt;/Dockerfile" tests="1" failures="1" errors="0">
        <testcase name="apt-update-split a &amp; &lt;b&gt;/Dockerfile:3:5" classname="a &amp; &lt;b&gt;/Dockerfile" file="a &amp; &lt;b&gt;/Dockerfile" line="3">
          <failure type="apt-update-split" message="`apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found">a &amp; &lt;b&gt;/Dockerfile:3:5: `apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found&#10;help: fetch the index in the RUN that installs, and delete the RUN of line 2: `RUN apt-get update &amp;&amp; apt-get install -y &quot;curl&quot; &amp;&amp; rm -rf /var/lib/apt/lists/*`</failure>
        </testcase>
      </testsuite>
      <testsuite name="clean.Dockerfile" tests="1" failures="0" errors="0">
        <testcase name="no findings" classname="clean.Dockerfile" file="clean.Dockerfile"/>
      </testsuite>
      <testsuite name="refused.Dockerfile" tests="1" failures="0" errors="1">
        <testcase name="refused refused.Dockerfile:2:1" classname="refused.Dockerfile" file="refused.Dockerfile" line="2">
          <error type="refused" message="`FLY` is no instruction">refused.Dockerfile:2:1: `FLY` is no instruction</error>
        </testcase>
      </testsuite>
    </testsuites>
    "##);
}

#[test]
fn markdown() {
    insta::assert_snapshot!(shown("markdown"), @r##"
    ## layerlint: 2 findings (1 warning, 1 info) in 4 files; BuildKit would refuse 1 file

    | severity | rule | place | what happens |
    | --- | --- | --- | --- |
    | info | unused-ignore | `Dockerfile:3` | there is no rule `no-such-rule` |
    | warning | apt-update-split | `a & <b>/Dockerfile:3` | `apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found |
    | error | refused | `refused.Dockerfile:2` | `FLY` is no instruction |

    ### What to do

    `Dockerfile:3` unused-ignore: `layerlint rules` lists the names

    `a & <b>/Dockerfile:3` apt-update-split: fetch the index in the RUN that installs, and delete the RUN of line 2: `RUN apt-get update && apt-get install -y "curl" && rm -rf /var/lib/apt/lists/*`
    "##);
}

#[test]
fn gitlab() {
    let report: serde_json::Value = serde_json::from_str(&shown("gitlab")).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r##"
    [
      {
        "check_name": "refused",
        "description": "`FLY` is no instruction",
        "fingerprint": "96613b34ee885a9ba75e1d835e479ccf",
        "location": {
          "lines": {
            "begin": 2,
            "end": 2
          },
          "path": "refused.Dockerfile"
        },
        "severity": "blocker"
      },
      {
        "check_name": "unused-ignore",
        "content": {
          "body": "`layerlint rules` lists the names"
        },
        "description": "there is no rule `no-such-rule`",
        "fingerprint": "8656d137dd663f989b42acf7bc848a32",
        "location": {
          "lines": {
            "begin": 3,
            "end": 3
          },
          "path": "Dockerfile"
        },
        "severity": "minor"
      },
      {
        "check_name": "apt-update-split",
        "content": {
          "body": "fetch the index in the RUN that installs, and delete the RUN of line 2: `RUN apt-get update && apt-get install -y \"curl\" && rm -rf /var/lib/apt/lists/*`"
        },
        "description": "`apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found",
        "fingerprint": "03d8c72c554eaf5a99c36f66c48bcefa",
        "location": {
          "lines": {
            "begin": 3,
            "end": 3
          },
          "path": "a & <b>/Dockerfile"
        },
        "severity": "major"
      }
    ]
    "##);
}

#[test]
fn sarif() {
    let mut log: serde_json::Value = serde_json::from_str(&shown("sarif")).unwrap();
    // The pages have tests of their own.
    for rule in log["runs"][0]["tool"]["driver"]["rules"].as_array_mut().unwrap() {
        rule["help"] = "…".into();
        rule["shortDescription"] = "…".into();
    }
    log["runs"][0]["tool"]["driver"]["semanticVersion"] = "…".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&log).unwrap(), @r##"
    {
      "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
      "runs": [
        {
          "columnKind": "unicodeCodePoints",
          "invocations": [
            {
              "executionSuccessful": true
            }
          ],
          "results": [
            {
              "level": "error",
              "locations": [
                {
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "refused.Dockerfile"
                    },
                    "region": {
                      "endColumn": 4,
                      "endLine": 2,
                      "startColumn": 1,
                      "startLine": 2
                    }
                  }
                }
              ],
              "message": {
                "text": "`FLY` is no instruction"
              },
              "partialFingerprints": {},
              "ruleId": "refused",
              "ruleIndex": 2
            },
            {
              "level": "note",
              "locations": [
                {
                  "logicalLocations": [
                    {
                      "kind": "stage",
                      "name": "0"
                    }
                  ],
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "Dockerfile"
                    },
                    "region": {
                      "endColumn": 32,
                      "endLine": 3,
                      "startColumn": 20,
                      "startLine": 3
                    }
                  }
                }
              ],
              "message": {
                "text": "there is no rule `no-such-rule`\nhelp: `layerlint rules` lists the names"
              },
              "partialFingerprints": {
                "layerlint/v1": "8656d137dd663f989b42acf7bc848a32"
              },
              "ruleId": "unused-ignore",
              "ruleIndex": 1
            },
            {
              "fixes": [
                {
                  "artifactChanges": [
                    {
                      "artifactLocation": {
                        "uri": "a%20%26%20%3Cb%3E/Dockerfile"
                      },
                      "replacements": [
                        {
                          "deletedRegion": {
                            "endColumn": 5,
                            "endLine": 3,
                            "startColumn": 5,
                            "startLine": 3
                          },
                          "insertedContent": {
                            "text": "apt-get update && "
                          }
                        },
                        {
                          "deletedRegion": {
                            "endColumn": 1,
                            "endLine": 3,
                            "startColumn": 1,
                            "startLine": 2
                          },
                          "insertedContent": {
                            "text": ""
                          }
                        }
                      ]
                    }
                  ],
                  "description": {
                    "text": "run `apt-get update` in the step that installs"
                  }
                }
              ],
              "level": "warning",
              "locations": [
                {
                  "logicalLocations": [
                    {
                      "kind": "stage",
                      "name": "tools"
                    }
                  ],
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "a%20%26%20%3Cb%3E/Dockerfile"
                    },
                    "region": {
                      "endColumn": 20,
                      "endLine": 3,
                      "startColumn": 5,
                      "startLine": 3
                    }
                  }
                }
              ],
              "message": {
                "text": "`apt-get install` uses the package index of line 2, and that step stays CACHED when this one changes: old versions are installed, or packages that have moved on are not found\nhelp: fetch the index in the RUN that installs, and delete the RUN of line 2: `RUN apt-get update && apt-get install -y \"curl\" && rm -rf /var/lib/apt/lists/*`"
              },
              "partialFingerprints": {
                "layerlint/v1": "03d8c72c554eaf5a99c36f66c48bcefa"
              },
              "properties": {
                "evidence": {
                  "index_line": 2,
                  "install_lines": [
                    3
                  ],
                  "manager": "apt"
                },
                "fixSafety": "safe"
              },
              "relatedLocations": [
                {
                  "message": {
                    "text": "the apt index is fetched here, once"
                  },
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "a%20%26%20%3Cb%3E/Dockerfile"
                    },
                    "region": {
                      "endColumn": 19,
                      "endLine": 2,
                      "startColumn": 5,
                      "startLine": 2
                    }
                  }
                }
              ],
              "ruleId": "apt-update-split",
              "ruleIndex": 0
            }
          ],
          "tool": {
            "driver": {
              "name": "layerlint",
              "rules": [
                {
                  "defaultConfiguration": {
                    "level": "warning"
                  },
                  "help": "…",
                  "id": "apt-update-split",
                  "properties": {
                    "tags": [
                      "freshness"
                    ]
                  },
                  "shortDescription": "…"
                },
                {
                  "defaultConfiguration": {
                    "level": "note"
                  },
                  "help": "…",
                  "id": "unused-ignore",
                  "properties": {
                    "tags": [
                      "comments"
                    ]
                  },
                  "shortDescription": "…"
                },
                {
                  "defaultConfiguration": {
                    "level": "error"
                  },
                  "help": "…",
                  "id": "refused",
                  "properties": {
                    "tags": [
                      "build"
                    ]
                  },
                  "shortDescription": "…"
                }
              ],
              "semanticVersion": "…"
            }
          }
        }
      ],
      "version": "2.1.0"
    }
    "##);
}

/// Faults by the official schema.
fn faults(log: &str) -> Option<String> {
    let schema = include_str!("../fixtures/sarif/sarif-schema-2.1.0.json");
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("sarif.json", serde_json::from_str(schema).unwrap()).unwrap();
    let index = compiler.compile("sarif.json", &mut schemas).unwrap();
    schemas.validate(&serde_json::from_str(log).unwrap(), index).err().map(|e| e.to_string())
}

#[test]
fn sarif_is_as_the_official_schema_wants_it() {
    assert_eq!(faults(&shown("sarif")), None);
    let unreadable = check(project().path(), &["--format", "sarif", "no-such-file"]);
    assert!(unreadable.contains("toolExecutionNotifications"), "{unreadable}");
    assert_eq!(faults(&unreadable), None);
    let empty = check(project().path(), &["--format", "sarif", "clean.Dockerfile"]);
    assert_eq!(faults(&empty), None);
    let wrong = shown("sarif").replace("\"startLine\":3", "\"startLine\":0");
    assert!(faults(&wrong).is_some());
    let wrong = shown("sarif").replace("ruleId", "ruleName");
    assert!(faults(&wrong).is_some());
}

/// Every example of every page, and every fix in them, as SARIF.
#[test]
fn sarif_of_every_rule_is_valid() {
    for rule in layerlint::rule::ALL {
        let dir = tempfile::tempdir().unwrap();
        for (n, example) in layerlint::rule::Page::parse(rule.page).examples.iter().enumerate() {
            for (path, content) in &example.files {
                let path = dir.path().join(n.to_string()).join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
        }
        let log = check(dir.path(), &["--format", "sarif"]);
        assert_eq!(faults(&log), None, "{}", rule.name);
    }
}

#[test]
fn fingerprints_are_unique_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let text = "FROM debian:12.8-slim\nRUN apt-get update\nRUN apt-get install -y curl\nRUN apt-get install -y curl\n";
    for name in ["a.Dockerfile", "b.Dockerfile"] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let fingerprints = || {
        let report: serde_json::Value =
            serde_json::from_str(&check(dir.path(), &["--format", "gitlab"])).unwrap();
        let list = report.as_array().unwrap().iter().map(|i| i["fingerprint"].as_str().unwrap().to_owned());
        list.collect::<Vec<_>>()
    };
    let before = fingerprints();
    let different: std::collections::HashSet<&String> = before.iter().collect();
    assert!(before.len() > 1 && different.len() == before.len(), "{before:?}");
    std::fs::write(dir.path().join("a.Dockerfile"), format!("# moved\n\n{text}")).unwrap();
    assert_eq!(fingerprints(), before);
}

#[test]
fn paths_are_those_from_the_root_of_the_repository() {
    let dir = project();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.args(["check", "--format", "sarif"]).current_dir(dir.path().join("a & <b>")).stdin(Stdio::null());
    // The working directory is known by its real name.
    command.env("GITHUB_WORKSPACE", dir.path().canonicalize().unwrap());
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(text.contains("\"uri\":\"a%20%26%20%3Cb%3E/Dockerfile\""), "{text}");
}

#[test]
fn a_report_is_written_whole_or_not_at_all() {
    let dir = project();
    let out = dir.path().join("out.sarif");
    std::fs::write(&out, "old").unwrap();
    assert_eq!(check(dir.path(), &["--format", "sarif", "--output", "out.sarif"]), "");
    assert_eq!(faults(&std::fs::read_to_string(&out).unwrap()), None);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}
