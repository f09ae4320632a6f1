"""`unglossed serve`: a page, an API and live captions over HTTP; needs the extra `server`."""
