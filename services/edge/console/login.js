// Exchanges an API key for a session. The key goes in a header: neither the address nor
// anything the browser stores ever holds it.

const form = document.querySelector('#log-in');
const key = document.querySelector('#key');
const fault = document.querySelector('#fault');
const button = form.querySelector('button');

/** What can stand in a header and in a key. */
const PRINTABLE = /^[\x21-\x7e]+$/;

const SENTENCES = {
  401: 'This key is not known, has expired or was revoked.',
  403: 'This key may not log in here.',
  429: 'Too many tries. Wait a moment.',
  503: 'Keys cannot be looked up at the moment. Try again.',
};

function refuse(sentence) {
  fault.textContent = sentence;
  key.setAttribute('aria-invalid', 'true');
  key.focus();
  key.select();
}

async function logIn(secret) {
  let response;
  try {
    response = await fetch('/api/session', { method: 'POST', headers: { 'x-api-key': secret, accept: 'application/json' } });
  } catch {
    return 'mediamesh does not answer. Try again.';
  }
  if (response.ok) return '';
  const problem = await response.json().catch(() => ({}));
  return SENTENCES[response.status] ?? problem.detail ?? `mediamesh answered ${response.status}.`;
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  const secret = key.value.trim();
  if (!PRINTABLE.test(secret)) {
    refuse('This is no API key.');
    return;
  }
  button.disabled = true;
  fault.textContent = '';
  key.removeAttribute('aria-invalid');
  const sentence = await logIn(secret);
  button.disabled = false;
  if (sentence) {
    refuse(sentence);
    return;
  }
  key.value = '';
  // The page that was asked for, or the console: this one is shown in place of either.
  if (location.pathname === '/login') location.replace('/');
  else location.reload();
});
