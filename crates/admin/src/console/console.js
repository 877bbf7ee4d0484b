// Keeps the live part of a page up to date, says when it cannot, and sends files. Without it every page still works, but
// for the import.
"use strict";

// ---- the live part ------------------------------------------------------------------------------

// Makes `old` what `fresh` is, and touches nothing that is so already: what has the focus keeps it, and a screen reader
// says only what has changed.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh.cloneNode(true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  children(old, fresh);
}

function children(old, fresh) {
  const now = [...old.childNodes];
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => {
    if (index < now.length) morph(now[index], node);
    else old.append(node.cloneNode(true));
  });
  now.slice(wanted.length).forEach((node) => node.remove());
}

const live = document.getElementById("live");
const offline = document.getElementById("offline");
const RETRY = 3000;
const PATIENCE = 15000;
let patience;
let stream = null;
let seen = new Date();

function time(moment) {
  return moment.toLocaleTimeString([], { hour12: false });
}

function connected(yes) {
  if (!yes && offline.hidden) {
    offline.textContent = `Not connected: what you see is from ${time(seen)}.`;
  }
  offline.hidden = yes;
  live.classList.toggle("stale", !yes);
}

// The server says something every few seconds; a connection that is silent for longer is dead, whatever it looks like.
function heard() {
  seen = new Date();
  connected(true);
  clearTimeout(patience);
  patience = setTimeout(() => {
    connected(false);
    follow();
  }, PATIENCE);
}

function follow() {
  if (stream) stream.close();
  stream = new EventSource(live.dataset.live);
  stream.addEventListener("alive", heard);
  stream.addEventListener("fragment", (event) => {
    heard();
    children(live, new DOMParser().parseFromString(event.data, "text/html").body);
  });
  stream.addEventListener("error", () => {
    connected(false);
    // The server is there and does not stream: the session has ended, say. Whatever it is, the page tells.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), RETRY);
  });
}

if (live) {
  follow();
  // A browser has few connections for a server; pages that nobody looks at leave theirs to others.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(patience);
    if (document.hidden) stream.close();
    else follow();
  });
  window.addEventListener("pagehide", () => stream.close());
}

// What has just been done is told once, not again when the page is loaded anew.
if (new URLSearchParams(location.search).has("done")) {
  history.replaceState(null, "", location.pathname);
}

// ---- files --------------------------------------------------------------------------------------

for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    upload(form);
  });
}

function upload(form) {
  const said = form.querySelector(".said");
  const bar = form.querySelector("progress");
  const button = form.querySelector("button");
  const name = form.elements.name.value.trim();
  const request = new XMLHttpRequest();
  const tell = (text) => {
    said.textContent = text;
    bar.hidden = true;
    button.disabled = false;
  };
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = (100 * loaded) / total;
    if (loaded === total) said.textContent = "Sent; the server checks it.";
  });
  request.addEventListener("error", () => tell("The connection was lost. Reload the page to see whether the database is there."));
  request.addEventListener("load", () => {
    if (request.status === 201) {
      location.assign(`${form.dataset.upload}?done=imported`);
      return;
    }
    let why = `The server answered ${request.status}.`;
    try {
      const { what, remedy } = JSON.parse(request.responseText).error;
      why = `Refused: ${what}. ${remedy}.`;
    } catch {
      // Something else than the server answered; its status is all there is.
    }
    tell(why);
  });
  button.disabled = true;
  bar.hidden = false;
  said.textContent = "Sending…";
  request.open("PUT", `${form.dataset.upload}/${encodeURIComponent(name)}/content`);
  request.setRequestHeader("x-csrf", form.dataset.csrf);
  request.send(form.elements.file.files[0]);
}
