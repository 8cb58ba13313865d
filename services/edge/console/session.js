// Who is logged in, and the way out.

import { $, toast } from './dom.js';
import * as api from './api.js';

/** Whether somebody went out by this button. */
const leftBy = (button) => button.disabled;

/** Connects the way out, which is there if the page was opened with a session's cookie. */
export async function startSession() {
  const button = $('#log-out');
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await api.logOut();
      location.assign('/');
    } catch (error) {
      button.disabled = false;
      toast(`Could not log out: ${error.message}`);
    }
  });
  // Back from the page to log in: what was shown here is not shown to whoever goes back to it.
  addEventListener('pageshow', (event) => { if (event.persisted && leftBy(button)) location.reload(); });
  try {
    const current = await api.currentSession();
    if (current) button.title = `Log out (${current.session.email || current.session.userId})`;
  } catch {
    // Whatever it was, the calls that need the session will tell.
  }
}
