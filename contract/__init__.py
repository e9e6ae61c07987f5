"""What the two sides of Moodstream must agree on: tensor signatures, label orders, rates, and face-crop geometry.

`training` writes models that obey this package, `server` refuses models that do not. It knows neither of them, and
imports only numpy and OpenCV.
"""
