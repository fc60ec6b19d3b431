#!/usr/bin/env bash
# Installs layerlint the way a user of pre-commit does, from the hooks file of this repository's last commit, and
# commits good and bad files with it. CARGO_TARGET_DIR lets the installation reuse what is built already.
#
#     tests/pre-commit.sh [PRE-COMMIT]
#
# Without the program's path pre-commit is taken from PyPI into a temporary virtual environment.
set -euo pipefail
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pre_commit=${1:-}
if [ -z "$pre_commit" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check pre-commit
  pre_commit=$work/venv/bin/pre-commit
fi
export PRE_COMMIT_HOME=$work/home
# Nothing of the repository or the user around this script counts for the one made here.
unset "${!GIT_@}" GITHUB_ACTIONS
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@localhost GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@localhost

mkdir "$work/repo"
cd "$work/repo"
git init --quiet .
cat > .pre-commit-config.yaml <<EOT
repos:
  - repo: file://$root
    rev: $(git -C "$root" rev-parse HEAD)
    hooks:
      - id: layerlint
      - id: layerlint-dockerignore
EOT

passed=0
# try NAME passes|fails|skips HOOK TEXT: stages everything, runs one hook, and expects its verdict and a line with TEXT.
try() {
  local name=$1 verdict=$2 hook=$3 text=$4 code=0 out
  git add -A
  out=$("$pre_commit" run --color never "$hook" 2>&1) || code=$?
  case $verdict in
    passes) [ $code = 0 ] && grep -q Passed <<< "$out" ;;
    skips) [ $code = 0 ] && grep -q Skipped <<< "$out" ;;
    fails) [ $code = 1 ] && grep -q Failed <<< "$out" ;;
  esac && grep -qF -- "$text" <<< "$out" || {
    printf 'not ok: %s (%s wanted, exit code %s)\n%s\n' "$name" "$verdict" "$code" "$out"
    exit 1
  }
  passed=$((passed + 1))
  echo "ok: $name"
  git commit --quiet --no-verify -m "$name"
}

"$pre_commit" install-hooks
try "no Dockerfile is there" skips layerlint "no files to check"

mkdir app docker
printf 'FROM scratch\nCOPY app /app\n' > Dockerfile
echo 1 > app/main.py
try "a good Dockerfile" passes layerlint ""

printf 'FROM debian:12.8-slim\nRUN apt-get update\nRUN apt-get install -y curl\n' > docker/tools.Dockerfile
try "a bad file of another name" fails layerlint "apt-update-split"

printf 'FROM scratch\nCPOY app /app\n' > Containerfile.next
try "a file that BuildKit refuses" fails layerlint "exit code: 4"

printf 'FROM scratch\n' > Dockerfile.dockerignore
try "an ignore file is no Dockerfile" skips layerlint "no files to check"

git rm --quiet --cached Dockerfile.dockerignore
rm Dockerfile.dockerignore Containerfile.next docker/tools.Dockerfile
mkdir -p app/lib/node_modules/dep
echo 1 > app/lib/node_modules/dep/index.js
printf 'FROM node:22.11.0-slim\nWORKDIR /app\nCOPY . .\nCMD ["node", "app/main.js"]\n' > Dockerfile
printf '.git\n**/node_modules\n' > .dockerignore
try "a good ignore file" passes layerlint-dockerignore ""

printf '.git\nnode_modules\n' > .dockerignore
try "an ignore file with a gap, its Dockerfile unchanged" fails layerlint-dockerignore "dockerignore-gap"

echo "$passed passed, 0 failed"
