/** An answer that is none: what the gateway said, and when to come back, in seconds, if it said so. */
export class Refusal extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }

  /** From a response's parts. */
  static of(status, body, retryAfter) {
    const message = body?.error?.message ?? worded(body?.detail) ?? `The gateway answered with status ${status}.`;
    const seconds = Number.parseInt(retryAfter ?? "", 10);
    return new Refusal(status, body?.error?.code ?? String(status), message, Number.isFinite(seconds) ? seconds : null);
  }

  /** No response at all. */
  static unreachable() {
    return new Refusal(0, "connection", "The gateway did not answer. It may be gone, or the connection broke.");
  }
}

/** `detail` is a sentence, or a list of what is wrong with which field. */
function worded(detail) {
  if (typeof detail === "string" && detail) return detail;
  if (!Array.isArray(detail)) return undefined;
  return detail.map(({ loc, msg }) => [loc?.at(-1), msg].filter(Boolean).join(": ")).join("; ");
}
