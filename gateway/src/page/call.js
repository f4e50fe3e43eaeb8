import { Refusal } from "./refusal.js";
import { session } from "./session.js";

/** A request with JSON both ways. One that needs somebody to sign in waits for that and is sent again. */
export async function call(path, { method = "GET", body } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const headers = { ...session.headers, ...(body && { "Content-Type": "application/json" }) };
    const sent = { method, headers, body: body && JSON.stringify(body) };
    const response = await fetch(path, sent).catch(() => { throw Refusal.unreachable(); });
    if (response.status === 401 && attempt === 0 && await session.wanted(headers)) continue;
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw Refusal.of(response.status, answer, response.headers.get("retry-after"));
    return answer;
  }
}
