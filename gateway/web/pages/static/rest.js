// Requests to the gateway's own REST, from its own pages.

import { t } from "./words.js";

// What the gateway answers: JSON as what it is, anything else as text. Throws Error with the gateway's own reason.
export async function call(method, url, body, options) {
  return (await send(method, url, body, options)).content;
}

// The same, with the headers of the answer beside its content. A body that is neither text nor undefined becomes JSON.
export async function send(method, url, body, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const request = { method, ...options, headers };
  if (body !== undefined) {
    request.body = typeof body === "string" ? body : JSON.stringify(body);
    headers["Content-Type"] = typeof body === "string" ? "text/plain" : "application/json";
  }
  let answer;
  try {
    answer = await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("common.unreachable"));
  }
  const text = await answer.text();
  let found = text;
  try { found = text ? JSON.parse(text) : null; } catch { /* Not everything is JSON. */ }
  if (!answer.ok) throw new Error(found?.Details || found?.details || found?.Message || `HTTP ${answer.status}`);
  return { content: found, headers: answer.headers };
}

// An address with its parameters filled in, which the gateway names as …/{id}/….
export function filled(template, parts) {
  return template.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parts[name]));
}
