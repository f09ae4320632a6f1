def test_try(running, video):
    import time, json
    t=time.time()
    r=running.client.post("v1/video/translations", files={"file":("a.mp4", video.read_bytes())}, data={"response_format":"verbose_json","attention":"true"})
    print(r.status_code, r.text[:600], time.time()-t)
    print(r.headers)
    assert running.is_well()
    assert 0
