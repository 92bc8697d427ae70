// SPDX-License-Identifier: Apache-2.0
// Calls a function on a mod_serviceless fleet, with Node.js (18 or newer) and the package standardwebhooks.
//
//   npm install standardwebhooks
//   export SERVICELESS_URL=https://HOST/serviceless SERVICELESS_KEY_FILE=FILE
//   node call.mjs FUNCTION [JSON ...] [NAME:=JSON ...]
//
// Prints the answer.  Exit status: 0 ok, 1 any other outcome, 2 usage, 3 refused, no answer, or one that is not to be believed.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";

const TRIES = 3;
const TIMEOUT = 60_000; // milliseconds
const NO_NODE = "this is a page of its httpd or of a proxy, not a node's answer: is it the URL of an endpoint, and may this address use it?";
const NOT_REACHED = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT", "ERR_INVALID_URL"];

// A key file has a line for each key: id, secret, permissions.  The first one signs.  A node signs its answer with the fleet's key and,
// when another one asked, with that one too: the application's own key is enough to check it.
function readKeys(path) {
  const lines = readFileSync(path, "utf8").split("\n").map((line) => line.replace(/#.*/, "").trim()).filter(Boolean);
  const keys = lines.map((line) => line.split(/\s+/))
    .filter(([, , ...permissions], i) => i === 0 || permissions.length === 0 || permissions.includes("relay"))
    .map(([, secret]) => secret);
  if (keys.length === 0 || !keys.every((secret) => /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(secret))) {
    throw new Error("it holds no key, or a line that is not an id and a secret (whsec_…)");
  }
  return keys.map((secret) => new Webhook(secret));
}

// The body of a call.  Each argument is JSON and is put in as it stands, so that a large integer keeps its digits: numbers of
// JavaScript are doubles.  A program with values of its own takes JSON.stringify({ function: name, args, kwargs }).
function callBody(name, words) {
  const args = [];
  const kwargs = [];
  for (const word of words) {
    const [, key, value] = word.match(/^([A-Za-z_][A-Za-z0-9_]*):=(.*)$/s) ?? [null, null, word];
    JSON.parse(value);
    (key ? kwargs : args).push(key ? `${JSON.stringify(key)}:${value}` : value);
  }
  return `{"function":${JSON.stringify(name)},"args":[${args.join(",")}],"kwargs":{${kwargs.join(",")}}}`;
}

// True when a node signed the answer, for this call, and now.
function isBelievable(keys, id, headers, body) {
  const verifies = (key) => {
    try {
      key.verify(body, Object.fromEntries(headers), { jsonParse: false });
      return true;
    } catch {
      return false;
    }
  };
  return (headers.get("webhook-id") ?? "").startsWith(`${id}:`) && keys.some(verifies);
}

async function post(url, key, id, body) {
  const now = new Date();
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(now / 1000)),
      "webhook-signature": key.sign(id, now, body),
    },
    body,
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

// Resolves to the text of the answer.  Tries again with the same id when it is not known what became of a call: it never runs twice.
async function call(url, keys, body) {
  const id = randomUUID();
  const unknown = `; call ${id} may have been accepted`;
  let problem;
  let doubt = "";
  for (let attempt = 0; attempt < TRIES; attempt++) {
    if (attempt > 0) {
      await sleep(1000);
    }
    const answer = await post(url, keys[0], id, body).catch((error) => ({ status: 0, error: error.cause ?? error }));
    if (answer.status >= 200 && answer.status <= 299) {
      if (!isBelievable(keys, id, answer.headers, answer.text)) {
        throw new Error(`the answer of ${url} is not signed by a node: it is not believed${unknown}`);
      }
      return answer.text;
    }
    if (answer.status === 0) {
      problem = `no answer from ${url} (${answer.error})`;
      doubt = NOT_REACHED.includes(answer.error.code) ? doubt : unknown;
      continue;
    }
    problem = `${url} answered ${answer.status}: ${answer.text.startsWith("{") ? JSON.stringify(answer.text.slice(0, 500)) : NO_NODE}`;
    if (answer.status < 500) {
      break;
    }
    doubt = unknown;
  }
  throw new Error(problem + doubt);
}

function fail(status, message) {
  console.error(`call.mjs: ${message}`);
  process.exit(status);
}

const { SERVICELESS_URL: url, SERVICELESS_KEY_FILE: keyFile } = process.env;
const [name, ...words] = process.argv.slice(2);
if (!url || !keyFile || !name) {
  fail(2, "usage: call.mjs FUNCTION [JSON ...] [NAME:=JSON ...], with SERVICELESS_URL and SERVICELESS_KEY_FILE set");
}
let body, keys;
try {
  body = callBody(name, words);
} catch (error) {
  fail(2, `an argument is not JSON: ${error.message}`);
}
try {
  keys = readKeys(keyFile);
} catch (error) {
  fail(3, `key file ${keyFile}: ${error.message}`);
}
try {
  const answer = await call(url, keys, body);
  console.log(answer);
  process.exitCode = ["ok", "accepted"].includes(JSON.parse(answer).outcome) ? 0 : 1;
} catch (error) {
  fail(3, error.message);
}
