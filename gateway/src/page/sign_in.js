import { announce } from "./announce.js";
import { byId } from "./element.js";
import { session } from "./session.js";

/** Signing in, out, and making an account: shown where the gateway has accounts. */
export function offerSignIn() {
  const dialog = byId("sign-in");
  const form = byId("sign-in-form");
  let registering = false;

  function open(why = "") {
    byId("sign-in-why").textContent = why;
    setRegistering(false);
    if (!dialog.open) dialog.showModal();
    form.elements.email.focus();
  }

  function setRegistering(wanted) {
    registering = wanted;
    byId("sign-in-name").hidden = !wanted;
    form.elements.name.required = wanted;
    form.elements.password.autocomplete = wanted ? "new-password" : "current-password";
    byId("sign-in-title").textContent = wanted ? "Make an account" : "Sign in";
    byId("sign-in-send").textContent = wanted ? "Make it" : "Sign in";
    byId("sign-in-other").textContent = wanted ? "I have an account" : "Make an account";
    byId("sign-in-other").hidden = session.known.registration !== "open";
    byId("sign-in-error").textContent = "";
  }

  async function send(event) {
    event.preventDefault();
    const { name, email, password } = form.elements;
    byId("sign-in-send").disabled = true;
    try {
      if (registering) await session.register(name.value, email.value, password.value);
      else await session.signIn(email.value, password.value);
      password.value = "";
      session.settle?.(true);
      dialog.close();
      announce("Signed in.");
    } catch (refusal) {
      const wait = refusal.retryAfter ? ` Try again in ${refusal.retryAfter} s.` : "";
      byId("sign-in-error").textContent = refusal.message + wait;
    }
    byId("sign-in-send").disabled = false;
  }

  form.addEventListener("submit", send);
  byId("sign-in-open").addEventListener("click", () => open());
  byId("sign-in-other").addEventListener("click", () => setRegistering(!registering));
  byId("sign-in-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => session.settle?.(false));
  byId("sign-out").addEventListener("click", () => session.signOut());
  session.addEventListener("wanted", () => open(session.known.signed_in ? "Your session has run out." : "This needs an account."));
  session.addEventListener("change", () => show(open));
}

function show(open) {
  const { auth, signed_in: signedIn, account, retention } = session.known;
  byId("sign-in-open").hidden = auth === "off" || signedIn;
  byId("account").hidden = !signedIn;
  byId("account-name").textContent = account?.name || account?.email || "";
  byId("privacy").textContent = retention
    ? "The operator keeps uploaded images. The history stays in this browser."
    : "Images are not kept. The history stays in this browser.";
  const closed = auth === "required" && !signedIn;
  byId("signed-out").hidden = !closed;
  byId("signed-out-open").onclick = () => open();
}
