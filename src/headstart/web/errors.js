/** The error of this module: something that its caller or a user can correct. Its message says how. */
export class HeadstartError extends Error {
  name = 'HeadstartError';
}

/** A photo that cannot be used, and why. */
export class PhotoError extends HeadstartError {
  name = 'PhotoError';
}
