// What every page has: colours, and the question for a token.

import { Refusal, token } from "./ask.js";
import { element } from "./make.js";

const THEMES = { "": "as the system has them", light: "light", dark: "dark" };
const chosen = () => localStorage.getItem("vcache.theme") || "";

// A button that goes through the colours.
export function themes(button) {
  const paint = () => {
    if (chosen()) document.documentElement.dataset.theme = chosen();
    else delete document.documentElement.dataset.theme;
    button.setAttribute("aria-label", `Colours: ${THEMES[chosen()]}`);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    localStorage.setItem("vcache.theme", names[(names.indexOf(chosen()) + 1) % names.length]);
    paint();
  });
  paint();
}

// Asks for a token where the server wants one.
export class Door {
  // onToken(): there is one; onForget(): there is none any more.
  constructor(forget, { onToken, onForget }) {
    this.forget = forget;
    this.build();
    this.dialog.addEventListener("submit", () => {
      token.set(this.input.value.trim());
      this.input.value = "";
      onToken();
    });
    this.dialog.addEventListener("cancel", (event) => event.preventDefault());
    forget.addEventListener("click", () => {
      token.forget();
      onForget();
      this.ask("");
    });
  }

  build() {
    this.dialog = element("dialog");
    this.dialog.id = "ask";
    const title = element("h2", "", "Token");
    title.id = "ask-title";
    this.dialog.setAttribute("aria-labelledby", title.id);
    this.why = element("p", "bad");
    this.why.id = "ask-why";
    this.why.setAttribute("role", "alert");
    const label = element("label", "", "Token");
    this.input = element("input");
    Object.assign(this.input, { id: "token", type: "password", autocomplete: "off", spellcheck: false, required: true });
    label.htmlFor = this.input.id;
    const form = element("form");
    form.method = "dialog";
    const words = "This server asks who you are. The token stays in this tab, until it is closed.";
    form.append(title, element("p", "", words), this.why, label, this.input, element("button", "main", "Use"));
    this.dialog.append(form);
    document.body.append(this.dialog);
  }

  // Somebody was let in: with a token, it can be forgotten.
  passed() {
    this.forget.hidden = !token.get();
  }

  // Whether it was for want of a token that something was refused; if so, one is asked for.
  isShut(error) {
    const isShut = error instanceof Refusal && error.status === 401;
    if (isShut) this.ask(error.message);
    return isShut;
  }

  ask(why) {
    this.why.textContent = token.get() ? why : "";
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.input.value = "";
    this.input.focus();
  }
}
