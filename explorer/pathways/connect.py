def connect_minima(landscape, potential, progress=None):
    raise NotImplementedError
