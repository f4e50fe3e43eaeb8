import { Refusal } from "./refusal.js";

/** In the tab alone, and gone with it. */
const KEPT = "shoal.token";

/**
 * Who asks. `known` is what `GET /api/session` says; the events are `change` (somebody signed in or out) and `wanted`
 * (a request needs somebody to sign in; the dialog listens).
 */
class Session extends EventTarget {
  known = { auth: "off", registration: "closed", signed_in: false, account: null, retention: false };

  get headers() {
    const token = sessionStorage.getItem(KEPT);
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /** Asks the gateway again who we are. */
  async refresh() {
    try {
      const response = await fetch("/api/session", { headers: this.headers });
      if (response.ok) this.known = await response.json();
    } catch {
      // What was known stays; the next request says precisely what is wrong.
    }
    this.dispatchEvent(new Event("change"));
  }

  async signIn(email, password) {
    const { access_token: token } = await post("/login", new URLSearchParams({ username: email, password }));
    sessionStorage.setItem(KEPT, token);
    await this.refresh();
  }

  async register(name, email, password) {
    await post("/user/", JSON.stringify({ name, email, password }), { "Content-Type": "application/json" });
    await this.signIn(email, password);
  }

  async signOut() {
    sessionStorage.removeItem(KEPT);
    await this.refresh();
  }

  /**
   * Whether somebody has signed in since a request with these headers was answered with 401; asks for it when nobody
   * has. Requests that fail together ask once.
   */
  async wanted(headers) {
    const { Authorization: now } = this.headers;
    if (now && now !== headers.Authorization) return true;
    sessionStorage.removeItem(KEPT);
    this.waiting ??= new Promise((resolve) => {
      this.settle = (done) => { this.waiting = null; resolve(done); };
      this.dispatchEvent(new Event("wanted"));
    });
    return this.waiting;
  }
}

async function post(path, body, headers = {}) {
  const response = await fetch(path, { method: "POST", body, headers }).catch(() => { throw Refusal.unreachable(); });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw Refusal.of(response.status, answer, response.headers.get("retry-after"));
  return answer;
}

export const session = new Session();
